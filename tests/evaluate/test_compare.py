"""``compare`` runs real models: its figures are those of ``evaluate``, its sizes those of the files."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Dense

from QEfficient import QEFFAutoModel, QEFFAutoModelForImageClassification, QEFFAutoModelForSequenceClassification
from QEfficient.errors import OptionError, UsageError
from QEfficient.evaluate import compare, evaluate
from QEfficient.evaluate.comparison.footprint import disk_bytes_beside
from QEfficient.evaluate.comparison.lineage import described
from QEfficient.source.checkpoint import TRAINING_FILE
from tests.real_text import snippets
from tests.task_repos import image_repo, pictures, text_repo
from tests.tiny_repo import tiny_repo

LABELS = ("low", "middle", "high")
TEXTS = [text for text in snippets(60) if len(text) < 160][:24]  # within a tiny model's 64 tokens
ROWS = [{"text": text, "label": LABELS[row % 3]} for row, text in enumerate(TEXTS)]
PAIRS = [(TEXTS[i], TEXTS[i + 1], i / 20) for i in range(20)]


@pytest.fixture(scope="module")
def classifiers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Any]]:
    """The torch model, its program, and the program saved and loaded again."""
    folder = tmp_path_factory.mktemp("classifiers")
    repo = text_repo(tmp_path_factory.mktemp("repo"), "AutoModelForSequenceClassification", LABELS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QEFF_HOME", str(folder / "home"))
        torch, program = (QEFFAutoModelForSequenceClassification.from_pretrained(repo) for _ in range(2))
        program.compile(backend="onnxruntime")
        saved = QEFFAutoModelForSequenceClassification.from_pretrained(program.save_pretrained(folder / "saved"))
        yield [torch, program, saved]
        program.close()
        saved.close()


def test_the_figures_are_those_of_evaluate(classifiers: list[Any]) -> None:
    found = compare(classifiers, ROWS, seconds=0.2, resamples=50, seed=3)
    assert [one.ran for one in found.models] == ["torch fp32", "onnxruntime fp32", "onnxruntime fp32"]
    assert len({one.name for one in found.models}) == 3
    for model, one in zip(classifiers, found.models, strict=True):
        alone = evaluate(model, ROWS, resamples=50, seed=3)
        assert one.metrics == alone.metrics
        assert found.digest == alone.digest
    assert (found.rows, found.seed, found.resamples, found.labels) == (24, 3, 50, LABELS)
    for one in found.models[1:]:  # the same weights: the same labels
        assert (one.gained, one.lost, one.differences["accuracy"].p) == (0, 0, 1.0)
    assert found.disagreements == ()


def test_speed_and_sizes_are_known(classifiers: list[Any]) -> None:
    before = time.perf_counter()
    torch, program, saved = compare(classifiers, ROWS, seconds=0.2, resamples=20).models
    took, timed = time.perf_counter() - before, 0.0
    for one in (torch, program, saved):
        assert one.measured.speed is not None and one.measured.speed.unit == "texts"
        assert len(one.measured.speed.latencies) >= 5
        timed += sum(one.measured.speed.latencies) + sum(
            one.measured.speed.rows / rate for rate in one.measured.speed.rates
        )
    # All that was timed went by while it ran, and of the 0.2 s of each model a good part was.
    assert 0.3 < timed < took
    assert any(one.front for one in (torch, program, saved))
    [weights] = classifiers[0]._subject().recipe.origin.weight_files()
    assert torch.measured.disk == weights.stat().st_size
    module = classifiers[0].model
    held = sum(one.numel() * 4 for one in module.parameters())
    assert held <= (torch.measured.memory or 0) < held + 10_000  # buffers: positions
    for one, model in ((program, classifiers[1]), (saved, classifiers[2])):
        files = [
            file for file in Path(model.program_path).rglob("*") if file.is_file() and file.name != "qefficient.json"
        ]
        assert one.measured.disk == sum(file.stat().st_size for file in files)
        assert held * 0.9 < (one.measured.memory or 0) < one.measured.disk


FACTS = {"from": "/models/MiniLM", "data": {"rows": 8057}, "how": {"epochs": 1.0, "max_steps": None}, "steps": 252}


def test_what_a_model_was_trained_from_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QEFF_HOME", str(tmp_path / "home"))
    plain, trained = tmp_path / "plain", tmp_path / "trained"
    for folder in (plain, trained):
        folder.mkdir()
        text_repo(folder, "AutoModelForSequenceClassification", LABELS)
    (trained / TRAINING_FILE).write_text(json.dumps(FACTS))
    models = [QEFFAutoModelForSequenceClassification.from_pretrained(repo) for repo in (plain, trained, trained)]
    models[2].compile(backend="onnxruntime")
    saved = QEFFAutoModelForSequenceClassification.from_pretrained(models[2].save_pretrained(tmp_path / "saved"))
    found = compare([*models, saved], ROWS, seconds=None, resamples=20)
    line = "fine-tuned from MiniLM, 1 epoch on 8057 rows"
    assert [one.measured.lineage for one in found.models] == [None, line, line, line]
    assert found.to_markdown().count(line) == 3
    models[2].close()
    saved.close()


@pytest.mark.parametrize(
    ("training", "line"),
    [
        (None, None),
        ({}, None),
        ({"from": 3}, None),
        ({"from": "a/b"}, "fine-tuned from a/b"),
        (FACTS | {"how": {"epochs": 2.5, "teacher": "ab12"}}, "distilled from MiniLM, 2.5 epochs on 8057 rows"),
        (FACTS | {"how": {"epochs": 1.0, "max_steps": 9}, "steps": 9}, "fine-tuned from MiniLM, 9 steps on 8057 rows"),
        ({"from": "a", "data": [], "how": None, "steps": 1}, "fine-tuned from a, 1 step"),
    ],
)
def test_facts_of_a_training_in_a_line(training: Any, line: str | None) -> None:
    assert described(training) == line


def test_names_are_the_callers_and_generators_are_read_once(classifiers: list[Any]) -> None:
    found = compare(dict(zip("abc", classifiers, strict=True)), (row for row in ROWS), seconds=None, resamples=20)
    assert [one.name for one in found.models] == ["a", "b", "c"]
    assert [one.measured.speed for one in found.models] == [None] * 3
    assert found.rows == 24


def test_two_models_disagree_on_rows_with_their_texts(classifiers: list[Any], tmp_path: Path) -> None:
    other = text_repo(tmp_path, "AutoModelForSequenceClassification", LABELS[::-1])  # in another order
    model = QEFFAutoModelForSequenceClassification.from_pretrained(other)
    found = compare([classifiers[0], model], ROWS, seconds=None, resamples=20)
    for one in found.disagreements:
        assert one.right == ROWS[one.row]["label"]
        for each, answer in zip((classifiers[0], model), one.answers, strict=True):
            own = evaluate(each, ROWS, resamples=20).outcome
            assert own.labels[int(own.given[one.row])] == answer
        assert one.text.rstrip("…") in " ".join(TEXTS[one.row].split())
    assert len(found.disagreements) > 0


@pytest.mark.parametrize("metrics", [None, "pearson", ["pearson", "spearman"]])
def test_a_sentence_transformer_stands_beside_ours(tmp_path: Path, metrics: Any) -> None:
    repo = tiny_repo(tmp_path / "repo")
    models = [QEFFAutoModel.from_pretrained(repo, pooling="auto"), SentenceTransformer(str(repo), device="cpu")]
    found = compare(models, PAIRS, "similarity", metrics, seconds=0.1, resamples=20)
    first, second = found.models
    for mine, theirs in zip(first.metrics, second.metrics, strict=True):
        assert mine.value == pytest.approx(theirs.value, abs=1e-5)
    assert second.ran == "sentence-transformers"
    assert second.measured.disk == first.measured.disk == (repo / "model.safetensors").stat().st_size
    assert second.measured.memory == first.measured.memory
    assert second.measured.speed is not None and second.measured.speed.unit == "texts"


def test_a_sentence_transformer_without_files_of_its_size_has_none_on_disk(tmp_path: Path) -> None:
    repo = tiny_repo(tmp_path / "repo")
    model = SentenceTransformer(str(repo), device="cpu")
    whole = disk_bytes_beside(model)
    assert whole is not None and whole == (repo / "model.safetensors").stat().st_size
    dense = Dense(32, 2000, module_input_name="sentence_embedding")
    model.append(dense)
    assert disk_bytes_beside(model) is None  # a part more than its files have
    model.save(str(tmp_path / "whole"))
    again = SentenceTransformer(str(tmp_path / "whole"), device="cpu")
    assert disk_bytes_beside(again) == sum(one.stat().st_size for one in (tmp_path / "whole").rglob("*.safetensors"))
    assert (disk_bytes_beside(again) or 0) > whole + 32 * 2000 * 4
    assert disk_bytes_beside(again.half()) is None  # half of what its files hold
    (repo / "model.safetensors").unlink()
    assert disk_bytes_beside(SentenceTransformer(modules=list(model)[:2], device="cpu")) is None


@pytest.mark.parametrize(
    "task, data", [("similarity", PAIRS), ("retrieval", {"query": ["a", "b"], "document": ["x", "y"]})]
)
def test_a_model_that_can_not_answer_is_refused_before_the_others_run(
    task: str, data: Any, classifiers: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo = tiny_repo(tmp_path / "repo")
    vectors = QEFFAutoModel.from_pretrained(repo, pooling="auto")
    ran: list[int] = []
    monkeypatch.setattr("QEfficient.evaluate.comparison.models.evaluate_examples", lambda *_, **__: ran.append(1))
    with pytest.raises(UsageError, match="one score of each row|gives scores of pairs"):
        compare([vectors, classifiers[0]], data, task)
    assert not ran


def test_images_are_timed_by_row(tmp_path: Path) -> None:
    model = QEFFAutoModelForImageClassification.from_pretrained(image_repo(tmp_path / "repo", LABELS))
    data = {"image": list(pictures(6)), "label": [0, 1, 2, 0, 1, 2]}
    [one] = compare([model], data, seconds=0.1, resamples=20).models
    assert one.measured.speed is not None and one.measured.speed.unit == "images"
    assert one.confusion is not None and np.sum(one.confusion) == 6


def test_what_is_no_list_of_models_is_refused(classifiers: list[Any]) -> None:
    with pytest.raises(UsageError, match="models"):
        compare("MiniLM", ROWS)
    with pytest.raises(UsageError, match=r"no model that can be evaluated(.|\n)*str"):
        compare(["MiniLM"], ROWS)
    with pytest.raises(UsageError, match="nothing to compare"):
        compare([], ROWS)
    with pytest.raises(OptionError, match="length of time"):
        compare(classifiers[:1], ROWS, seconds=-1)
    with pytest.raises(TypeError, match="resample"):
        compare(classifiers[:1], ROWS, resample=10)
