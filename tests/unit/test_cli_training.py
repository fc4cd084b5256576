"""``qefficient evaluate``, ``compare``, ``finetune`` and ``distill``, on a small repo and files of rows."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import Result
from PIL import Image
from sentence_transformers import SentenceTransformer
from typer.testing import CliRunner

from QEfficient import QEFFAutoModel, QEFFAutoModelForSequenceClassification
from QEfficient.cli.main import app
from QEfficient.cli.trained import figures
from QEfficient.errors import CompressionRefusedError
from QEfficient.train.save import save_model
from tests.real_text import snippets
from tests.tiny_repo import tiny_repo
from tests.train import small_signals


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_repo(tmp_path_factory.mktemp("repo"))


@pytest.fixture(autouse=True)
def one_cache(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QEFF_HOME", str(repo.parent / f"{repo.name}-home"))
    monkeypatch.setenv("COLUMNS", "600")


def run(*args: object) -> Result:
    return CliRunner().invoke(app, [*map(str, args)])


def lines(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    texts = [text for text in snippets(60) if len(text) < 160][:24]  # within the repo's 64 tokens
    rows = [{"one": a, "other": b, "score": i % 5} for i, (a, b) in enumerate(zip(texts, texts[1:], strict=False))]
    return lines(tmp_path / "pairs.jsonl", rows)


COLUMNS = ("--column", "text=one", "--column", "pair=other")


def test_evaluate_prints_metrics_and_writes_a_page(repo: Path, pairs: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    result = run("evaluate", repo, pairs, *COLUMNS, "--task", "similarity", "--seq-len", 64, "--report", page)
    assert result.exit_code == 0, result.output
    assert "spearman" in result.stdout and "onnxruntime fp32" in result.stdout
    assert "spearman" in page.read_text()
    result = run("evaluate", repo, pairs, *COLUMNS, "--metric", "pearson", "--backend", "torch", "--json")
    found = json.loads(result.stdout)
    assert found["ran"] == "torch fp32" and list(found["metrics"]) == ["pearson"] and found["rows"] == 23


def test_compare_puts_models_side_by_side(repo: Path, pairs: Path, tmp_path: Path) -> None:
    other = tiny_repo(tmp_path / "other", seed=1)
    result = run("compare", repo, other, "--data", pairs, *COLUMNS, "--seq-len", 64, "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert len(found["models"]) == 2 and found["rows"] == 23


def test_finetune_writes_a_repo_that_loads(repo: Path, tmp_path: Path) -> None:
    rows = [{"text": text, "label": ("bad", "good")[i % 2]} for i, text in enumerate(snippets(16))]
    data, output = lines(tmp_path / "rows.jsonl", rows), tmp_path / "trained"
    asked = ("finetune", repo, data, "--output", output, "--class", "text-classification", "--labels", 2)
    result = run(*asked, "--batch-size", 8, "--eval", data)
    assert result.exit_code == 0, result.output
    assert "accuracy: " in result.stdout and "held-out loss: " in result.stdout
    model = QEFFAutoModelForSequenceClassification.from_pretrained(output)
    assert model.config.id2label == {0: "bad", 1: "good"}
    assert model.evaluate(data)["accuracy"].value >= 0
    again = run(*asked)
    assert again.exit_code == 2 and "not empty" in again.output


def test_labels_make_a_classifier_where_the_task_says_so(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"text": text, "label": ("bad", "good")[i % 2]} for i, text in enumerate(snippets(8))]
    data = lines(tmp_path / "rows.jsonl", rows)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    asked = ("finetune", repo, data, "--output", ".", "--labels", 2)
    refused = run(*asked)
    assert refused.exit_code == 2 and "--labels" in refused.output and "--class" in refused.output
    result = run(*asked, "--task", "text-classification")
    assert result.exit_code == 0, result.output
    config = json.loads((tmp_path / "here" / "config.json").read_text())
    assert config["architectures"] == ["BertForSequenceClassification"]
    assert (tmp_path / "here.checkpoints").is_dir()


def test_quantize_measures_and_saves_a_program(repo: Path, pairs: Path, tmp_path: Path) -> None:
    output = tmp_path / "small"
    asked = ("quantize", repo, "--to", "mxfp6", "--eval", pairs, *COLUMNS, "--task", "similarity", "--seq-len", 64)
    refused = run(*asked, "--output", output, "--max-drop", "spearman=-1")
    assert refused.exit_code == 1 and "--max-drop" in str(refused.exception) and not output.exists()
    result = run(*asked, "--output", output, "--max-drop", "spearman=1")
    assert result.exit_code == 0, result.output
    assert "quantized to mxfp6 on emulator" in result.stdout and "spearman: " in result.stdout
    saved = QEFFAutoModel.from_pretrained(output)
    assert [step["told"] for step in saved.compressed] == ["quantized to mxfp6"]
    assert run(*asked, "--output", tmp_path / "other", "--max-drop", "spearman").exit_code == 2


def test_prune_vocabulary_writes_a_repo_that_loads(repo: Path, pairs: Path, tmp_path: Path) -> None:
    output = tmp_path / "small"
    asked = ("prune-vocabulary", repo, pairs, *COLUMNS, "--keep", "zebra crossing", "--min-count", 2)
    refused = run(*asked, "--output", output, "--max-lost", 0)
    assert refused.exit_code == 1 and "--max-lost" in str(refused.exception) and not output.exists()
    assert {path.name for path in tmp_path.iterdir()} == {"pairs.jsonl"}
    asked = (*asked, "--output", output, "--max-lost", 1, "--eval", pairs, "--task", "similarity")
    result = run(*asked, "--max-drop", "spearman=1")
    assert result.exit_code == 0, result.output
    for told in ("vocabulary pruned to", "tokens: 30522 before", "lose a token", "no speed", "spearman: "):
        assert told in result.stdout
    small = SentenceTransformer(str(output), device="cpu")
    whole = SentenceTransformer(str(repo), device="cpu")
    assert (small.encode("zebra crossing") == whole.encode("zebra crossing")).all()
    assert QEFFAutoModel.from_pretrained(output, pooling="auto").lost_tokens(["zebra", "crocodiles"]).touched == (1,)


def test_prune_vocabulary_writes_a_whole_repo_whose_encoder_has_a_folder_of_its_own(
    repo: Path, pairs: Path, tmp_path: Path
) -> None:
    before, output = tmp_path / "before", tmp_path / "small"
    shutil.copytree(repo, before)
    modules = json.loads((before / "modules.json").read_text())
    modules[0]["path"] = "0_Transformer"
    (before / "0_Transformer").mkdir()
    for file in [one for one in before.iterdir() if one.is_file()]:
        file.rename(before / "0_Transformer" / file.name)
    (before / "modules.json").write_text(json.dumps(modules))
    result = run("prune-vocabulary", before, pairs, *COLUMNS, "--output", output, "--max-lost", 1)
    assert result.exit_code == 0, result.output
    assert {one.name for one in output.iterdir()} >= {"modules.json", "0_Transformer", "1_Pooling"}
    text = json.loads(pairs.read_text().splitlines()[0])["one"]
    small, whole = (SentenceTransformer(str(one), device="cpu") for one in (output, before))
    assert len(small.tokenizer) < len(whole.tokenizer) and (small.encode(text) == whole.encode(text)).all()


def test_distill_writes_a_smaller_repo(repo: Path, tmp_path: Path) -> None:
    data, output = lines(tmp_path / "texts.jsonl", [{"text": text} for text in snippets(16)]), tmp_path / "student"
    result = run("distill", repo, data, "--output", output, "--layers", 1, "--batch-size", 8, "--eval", data)
    assert result.exit_code == 0, result.output
    assert "distilled on 16 rows: 2 steps" in result.stdout and "held-out loss: " in result.stdout
    student = SentenceTransformer(str(output), device="cpu")
    assert student[0].model.config.num_hidden_layers == 1
    assert student.encode("a text").shape == (32,)


def test_distill_measures_rows_of_a_task(repo: Path, pairs: Path, tmp_path: Path) -> None:
    asked = ("distill", repo, pairs, *COLUMNS, "--layers", 1, "--task", "similarity", "--batch-size", 8)
    refused = run(*asked, "--output", tmp_path / "none")
    assert refused.exit_code == 2 and "--eval" in refused.output
    result = run(*asked, "--eval", pairs, "--output", tmp_path / "student")
    assert result.exit_code == 0, result.output
    assert "spearman: " in result.stdout and " after, " in result.stdout

    rows = [{"text": text, "label": ("bad", "good")[i % 2]} for i, text in enumerate(snippets(16))]
    data, teacher = lines(tmp_path / "rows.jsonl", rows), tmp_path / "teacher"
    trained = QEFFAutoModelForSequenceClassification.from_pretrained(repo, num_labels=2).fine_tune(rows, rows)
    assert [f"  {line}" for line in figures(trained.facts())] == str(trained).splitlines()[1:]
    save_model(trained, teacher)
    asked = ("distill", teacher, data, "--layers", 1, "--task", "text-classification", "--eval", data)
    result = run(*asked, "--output", tmp_path / "other")
    assert result.exit_code == 0, result.output
    assert "held-out loss: " in result.stdout and "accuracy: " in result.stdout


def test_prune_writes_a_narrower_repo(repo: Path, pairs: Path, tmp_path: Path) -> None:
    output = tmp_path / "narrow"
    asked = ("prune", repo, pairs, *COLUMNS, "--task", "similarity", "--eval", pairs, "--no-feed-forward")
    wrong = run(*asked, "-o", output, "--share", 2)
    assert wrong.exit_code == 1 and "--share" in str(wrong.exception)
    wrong = run(*asked, "-o", output, "--share", 0.2, "--block", 0)
    assert wrong.exit_code == 2 and "--block" in wrong.output
    refused = run(*asked, "-o", output, "--share", 0.2, "--max-drop", "spearman=0")
    assert isinstance(refused.exception, CompressionRefusedError) and not list(tmp_path.glob("narrow*"))
    result = run(*asked, "-o", output, "--share", 0.2, "--recover-steps", 2, "--batch-size", 8)
    assert result.exit_code == 0, result.output
    assert "of the encoder's parameters and" in result.stdout and "spearman: " in result.stdout
    model = QEFFAutoModel.from_pretrained(output, pooling="auto")
    [step] = model.compressed
    assert step["made"]["recovery"]["steps"] == 2 and set(step["made"]["feed_forward"]) == {64}
    assert run(*asked, "-o", output, "--share", 0.2).exit_code == 2  # the folder holds a model


def test_what_is_said_of_a_run_speaks_of_options(repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, output = lines(tmp_path / "texts.jsonl", [{"text": text} for text in snippets(16)]), tmp_path / "student"
    asked = ("distill", repo, data, "--output", output, "--layers", 1, "--batch-size", 8)
    step, taken = torch.optim.AdamW.step, []

    def interrupted(self: Any, *args: Any, **keywords: Any) -> Any:
        taken.append(1)
        if len(taken) == 3:  # in the second epoch
            raise KeyboardInterrupt
        return step(self, *args, **keywords)

    with monkeypatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "step", interrupted)
        stopped = run(*asked, "--epochs", 2)
    assert stopped.exit_code != 0 and "The same command with --resume goes on" in stopped.output
    assert "resume=True" not in stopped.output
    told = str(run(*asked, "--epochs", 2).exception)
    assert "pass --resume" in told and "another --output" in told and "student.checkpoints" in told
    assert "output_dir" not in told and "resume=" not in told
    other = str(run(*asked, "--resume", "--epochs", 3).exception)
    assert "another run" in other and "choose another --output" in other and "output_dir" not in other
    assert run(*asked, "--resume", "--epochs", 2).exit_code == 0
    wrong = run("distill", repo, data, "--output", tmp_path / "other", "--layers", 1, "--batch-size", 0)
    assert "--batch-size 0" in str(wrong.exception)


def test_wrong_arguments_are_named(repo: Path, pairs: Path, tmp_path: Path) -> None:
    assert "ROLE=NAME" in run("evaluate", repo, pairs, "--column", "one").output
    missing = run("evaluate", repo, tmp_path / "none.jsonl")
    assert missing.exit_code == 1 and "none.jsonl" in str(missing.exception)
    assert run("distill", repo, pairs).exit_code == 2  # where the model goes must be said


def test_finetune_reads_images_by_their_paths_and_plain_texts(repo: Path, tmp_path: Path) -> None:
    vision = small_signals.repo(tmp_path / "vision", "image-classification")
    rows: list[dict[str, object]] = []
    for number in range(4):
        path = tmp_path / f"{number}.png"
        Image.fromarray(small_signals.picture(number)).save(path)
        rows.append({"image_path": str(path), "label": ("dark", "light")[number % 2]})
    data = lines(tmp_path / "images.jsonl", rows)
    result = run(
        "finetune", vision, data, "--output", tmp_path / "seer", "--task", "image-classification", "--labels", 2
    )
    assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "seer" / "config.json").read_text())["id2label"] == {"0": "dark", "1": "light"}
    assert (tmp_path / "seer" / "preprocessor_config.json").is_file()

    texts: list[dict[str, object]] = [{"text": text} for text in snippets(4)]
    data = lines(tmp_path / "texts.jsonl", texts)
    result = run("finetune", repo, data, "--output", tmp_path / "filler", "--class", "fill-mask")
    assert result.exit_code == 0, result.output
    assert "trained for fill-mask on 4 rows" in result.stdout
