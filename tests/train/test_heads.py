"""Models with a head: each task learns, its labels keep their names, and bad rows are refused before it begins."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from sentence_transformers import CrossEncoder

from QEfficient.errors import InputError, OptionError, UsageError
from QEfficient.evaluate.record import Examples
from QEfficient.sentence_repo.reranker import read_scoring
from QEfficient.train.features import HeadReader
from QEfficient.train.heads import fine_tune_head
from QEfficient.train.labelled import IGNORED
from QEfficient.train.labels import Labels
from QEfficient.train.losses import head_loss
from QEfficient.train.order import RowOrder
from QEfficient.train.record import Trained
from QEfficient.train.request import parse_request
from QEfficient.train.save import save_model
from tests.train import small

CONTEXT = "anna lives in paris and works by the river " * 3 + "with bob"
TAGGED = {"tokens": [["anna", "lives"], ["in", "paris"]] * 10, "tags": [["P", "O"], ["O", "L"]] * 10}
ASKED = {"question": ["who", "where"] * 5, "context": [CONTEXT] * 10, "answers": [["bob"], ["paris"]] * 5}
SEVERAL = {"text": small.TEXTS, "labels": [["a"], ["a", "b"]] * 20}
CASES = {
    "text-classification": (small.classes(), 2, "SequenceClassification"),
    "multi-label": (small.rows("multi-label", **SEVERAL), 2, "SequenceClassification"),
    "regression": (
        small.rows("regression", text=small.TEXTS, score=[0.0, 1.0] * 20),
        1,
        "SequenceClassification",
    ),
    "token-classification": (small.rows("token-classification", **TAGGED), 3, "TokenClassification"),
    "question-answering": (small.rows("question-answering", **ASKED), 2, "QuestionAnswering"),
}
"""Task → rows, labels of the model, and which head it has."""


def trained(repo: Path, task: str, **keywords: Any) -> Trained:
    examples, labels, kind = CASES[task]
    request = parse_request({"epochs": 4, "batch_size": 8, "learning_rate": 3e-3, "warmup": 0} | keywords)
    return fine_tune_head(small.classifier(repo, labels, kind), small.tokenizer(repo), examples, examples, request)


@pytest.mark.parametrize("task", CASES)
def test_the_held_out_loss_falls(repo: Path, task: str) -> None:
    found = trained(repo, task)
    before, after = found.course.held_out_losses or (0.0, 0.0)
    assert after < 0.9 * before
    assert found.data.rows == len(CASES[task][0]) and not found.module.training
    assert all(parameter.device.type == "cpu" for parameter in found.module.parameters())


@pytest.mark.parametrize("task", CASES)
def test_adapters_are_merged(repo: Path, task: str) -> None:
    found = trained(repo, task, lora={"r": 4}, learning_rate=1e-2)
    before, after = found.course.held_out_losses or (0.0, 0.0)
    assert after < 0.9 * before
    assert not [name for name, _ in found.module.named_parameters() if "lora" in name]
    assert all(weight.requires_grad for weight in found.module.parameters())
    assert {type(part).__module__.partition(".")[0] for part in found.module.modules()} <= {"torch", "transformers"}


def test_the_config_names_the_labels_and_the_problem(repo: Path) -> None:
    config: Any = trained(repo, "text-classification", max_steps=1).module.config
    assert config.id2label == {0: "negative", 1: "positive"} and config.label2id == {"negative": 0, "positive": 1}
    assert config.problem_type == "single_label_classification"


def test_a_score_is_the_logit_and_not_its_sigmoid(repo: Path, tmp_path: Path) -> None:
    found = trained(repo, "regression", max_steps=1)
    again = CrossEncoder(str(save_model(found, tmp_path / "saved")), device="cpu")
    assert isinstance(again.activation_fn, torch.nn.Identity)
    assert read_scoring(tmp_path / "saved", None).activation == "torch.nn.modules.linear.Identity"


def test_seeds_decide_the_weights_and_leave_the_process_its_random_numbers(repo: Path) -> None:
    state = torch.get_rng_state()
    first, second, other = (
        trained(repo, "text-classification", max_steps=3, seed=seed).module.classifier.weight for seed in (0, 0, 1)
    )
    assert torch.equal(first, second) and not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), state)


def test_dropout_and_checkpointed_activations_are_put_back(repo: Path) -> None:
    module = small.classifier(repo)
    before = [part.p for part in module.modules() if isinstance(part, torch.nn.Dropout)]
    keywords = {"max_steps": 2, "dropout": 0.0, "gradient_checkpointing": True, "batch_size": 8}
    found = fine_tune_head(module, small.tokenizer(repo), small.classes(), None, parse_request(keywords))
    assert [part.p for part in found.module.modules() if isinstance(part, torch.nn.Dropout)] == before
    assert not any(getattr(part, "gradient_checkpointing", False) for part in found.module.modules())


def test_fewer_activations_give_the_same_weights(repo: Path) -> None:
    def weights(saving: bool) -> torch.Tensor:
        found: torch.Tensor = trained(
            repo, "text-classification", max_steps=3, dropout=0.0, gradient_checkpointing=saving
        ).module.classifier.weight
        return found

    assert torch.allclose(weights(False), weights(True), atol=1e-6)


@pytest.mark.parametrize("saving", [False, True])
def test_activations_are_computed_again_where_that_is_asked_for(
    repo: Path, monkeypatch: pytest.MonkeyPatch, saving: bool
) -> None:
    calls: list[object] = []

    def checkpoint(function: Any, *args: Any, use_reentrant: bool, **keywords: Any) -> Any:
        calls.append(function)
        return function(*args, **keywords)

    monkeypatch.setattr("transformers.modeling_utils.checkpoint", checkpoint)
    trained(repo, "text-classification", max_steps=1, gradient_checkpointing=saving)
    assert bool(calls) == saving


def test_the_best_weights_are_those_of_the_best_checkpoint(repo: Path, tmp_path: Path) -> None:
    keywords = {"epochs": 30, "early_stopping": 1, "learning_rate": 3e-2, "output_dir": tmp_path}
    found = trained(repo, "text-classification", **keywords)
    last = max(tmp_path.glob("checkpoint-*"), key=lambda path: int(path.name.removeprefix("checkpoint-")))
    best = Path(json.loads((last / "trainer_state.json").read_text())["best_model_checkpoint"])
    assert best.name != last.name
    weights = load_file(tmp_path / best.name / "model.safetensors")
    assert all(torch.equal(weight, weights[name]) for name, weight in found.module.named_parameters())


@pytest.mark.parametrize(
    "more", [{"class_weights": {"negative": 5.0}}, {"weight_decay": 0.9}, {"warmup": 0.9}, {"max_length": 4}]
)
def test_keywords_decide_the_weights(repo: Path, more: dict[str, Any]) -> None:
    plain, other = (
        trained(repo, "text-classification", max_steps=3, dropout=0.0, **keywords).module.classifier.weight
        for keywords in ({}, more)
    )
    assert not torch.allclose(plain, other, atol=1e-6)


def test_adapters_change_each_matrix_by_their_rank_and_nothing_else(repo: Path) -> None:
    keywords = {"max_steps": 5, "learning_rate": 1e-2, "lora": {"r": 4}, "weight_decay": 0.0}
    found = trained(repo, "text-classification", **keywords).module
    before = dict(small.classifier(repo).named_parameters())
    for name, weight in found.bert.named_parameters():
        change = (weight - before[f"bert.{name}"]).detach()
        if weight.dim() == 2 and "embeddings" not in name:
            sizes = torch.linalg.svdvals(change)
            assert sizes[3] > 1e-4 and sizes[4] < 1e-3 * sizes[0], name
        else:
            assert not change.any(), name


def test_it_stops_early_and_takes_the_best_weights(repo: Path) -> None:
    found = trained(repo, "text-classification", epochs=30, early_stopping=1, learning_rate=3e-2)
    assert found.course.steps < 30 * 5
    before, after = found.course.held_out_losses or (0.0, 0.0)
    assert after < before
    with pytest.raises(UsageError, match="early_stopping"):
        fine_tune_head(
            small.classifier(repo), small.tokenizer(repo), small.classes(), None, parse_request({"early_stopping": 1})
        )
    assert len(list(Path(os.environ["QEFF_HOME"], "train").iterdir())) == 1


def test_the_score_is_asked_before_and_after(repo: Path) -> None:
    seen: list[float] = []

    def score(module: Any) -> float:
        assert not module.training
        seen.append(float(module.classifier.weight.sum()))
        return seen[-1]

    request = parse_request({"max_steps": 2})
    found = fine_tune_head(small.classifier(repo), small.tokenizer(repo), small.classes(), None, request, score=score)
    assert found.course.scores == tuple(seen) and seen[0] != seen[1]


def test_tensorboard_is_written_when_it_is_asked_for(repo: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    trained(repo, "text-classification", max_steps=1, tensorboard=True, output_dir=tmp_path / "run")
    assert list((tmp_path / "run").rglob("events.out.tfevents*"))


def test_a_ctrl_c_says_how_to_go_on(repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step, taken = torch.optim.AdamW.step, [0]

    def interrupted(self: Any, *args: Any, **keywords: Any) -> Any:
        taken[0] += 1
        if taken[0] == 4:
            raise KeyboardInterrupt
        return step(self, *args, **keywords)

    with monkeypatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "step", interrupted)
        with pytest.raises(KeyboardInterrupt) as caught:
            trained(repo, "text-classification", save_steps=2, output_dir=tmp_path / "run")
    assert "checkpoint-2" in caught.value.__notes__[-1] and "resume=True" in caught.value.__notes__[-1]
    whole = trained(repo, "text-classification", save_steps=2, output_dir=tmp_path / "run", resume=True)
    assert whole.course.steps == 20 and whole.course.held_out_losses is not None


def test_a_folder_of_another_run_is_refused(repo: Path, tmp_path: Path) -> None:
    trained(repo, "text-classification", max_steps=1, output_dir=tmp_path / "run")
    with pytest.raises(UsageError, match="earlier run"):
        trained(repo, "text-classification", max_steps=1, output_dir=tmp_path / "run")
    with pytest.raises(UsageError, match="another how"):
        trained(repo, "text-classification", max_steps=2, output_dir=tmp_path / "run", resume=True)


@pytest.mark.parametrize(
    ("examples", "match"),
    [
        (small.rows("text-classification", text=["a", "b"], label=["x", "x"]), "same label"),
        (small.rows("text-classification", text=list("abc"), label=list("xyz")), "more labels"),
        (small.rows("text-classification", text=["a", "b"], label=[0, 2]), "out of range"),
        (small.rows("text-classification", text=[], label=[]), "no rows"),
        (small.rows("regression", text=["a", "b"], score=[0.0, float("nan")]), "num_labels=1"),
        (small.rows("similarity", text=["a"], pair=["b"], score=[0.0]), "similarity"),
    ],
)
def test_bad_rows_are_refused_before_anything_is_trained(repo: Path, examples: Examples, match: str) -> None:
    with pytest.raises((InputError, UsageError), match=match):
        fine_tune_head(small.classifier(repo), small.tokenizer(repo), examples)
    assert not Path(os.environ["QEFF_HOME"], "train").exists()


def test_held_out_labels_must_be_known(repo: Path) -> None:
    held_out = small.rows("text-classification", text=["a"], label=["neutral"])
    with pytest.raises(InputError, match="held-out"):
        fine_tune_head(small.classifier(repo), small.tokenizer(repo), small.classes(), held_out)


def test_an_answer_must_stand_in_its_context(repo: Path) -> None:
    examples = small.rows("question-answering", question=["who"], context=["anna"], answers=[["bob"]])
    with pytest.raises(InputError, match="row 0"):
        fine_tune_head(small.classifier(repo, 2, "QuestionAnswering"), small.tokenizer(repo), examples)


def test_frozen_weights_stay_frozen_and_a_model_of_them_alone_is_refused(repo: Path) -> None:
    module = small.classifier(repo)
    module.bert.embeddings.requires_grad_(False)
    keywords = parse_request({"max_steps": 1, "lora": True})
    found = fine_tune_head(module, small.tokenizer(repo), small.classes(), None, keywords).module
    frozen = {name for name, weight in found.named_parameters() if not weight.requires_grad}
    assert frozen == {name for name, _ in found.named_parameters() if "embeddings" in name}
    with pytest.raises(InputError, match="nothing to train"):
        fine_tune_head(small.classifier(repo).requires_grad_(False), small.tokenizer(repo), small.classes())


def test_any_score_counts(repo: Path) -> None:
    examples = small.rows("regression", text=["a", "b"], score=[-100.0, -100.0])
    request = parse_request({"max_steps": 1, "learning_rate": 1e-9})
    found = fine_tune_head(small.classifier(repo, 1), small.tokenizer(repo), examples, examples, request)
    assert found.course.held_out_losses is not None and found.course.losses[0][1] == pytest.approx(1e4, rel=0.1)
    assert found.course.held_out_losses[1] == pytest.approx(1e4, rel=0.1)


def test_keywords_of_other_models_are_refused(repo: Path) -> None:
    for keywords, task in (
        ({"loss": "CoSENTLoss"}, "text-classification"),
        ({"class_weights": "balanced"}, "regression"),
    ):
        with pytest.raises(OptionError, match="does nothing"):
            trained(repo, task, **keywords)
    with pytest.raises(OptionError, match="LoRA"):
        trained(repo, "text-classification", lora={"rank": 3})


def test_answers_of_long_contexts_stand_in_the_windows_that_hold_them(repo: Path) -> None:
    tokenizer = small.tokenizer(repo)
    reader = HeadReader(tokenizer, 16, None)
    found = reader.features(CASES["question-answering"][0], "training")
    held = [feature for feature in found if feature["labels"] != [0, 0]]
    assert len(found) > 10 and held
    for feature in held:
        first, last = feature["labels"]
        assert tokenizer.decode(feature["input_ids"][first : last + 1]) in ("bob", "paris")


def test_a_word_of_several_tokens_has_one_label(repo: Path) -> None:
    reader = HeadReader(small.tokenizer(repo), 16, Labels(("O", "P")))
    examples = small.rows("token-classification", tokens=[["unbelievabilities", "x"]], tags=[["P", "O"]])
    [feature] = reader.features(examples, "training")
    assert [label for label in feature["labels"] if label != IGNORED] == [1, 0]
    assert len(feature["labels"]) == len(feature["input_ids"]) > 4


def test_class_weights_count_as_said() -> None:
    logits, labels = torch.randn(6, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 0, 1, 2, 2, 2])

    class Output:
        pass

    output = Output()
    output.logits = logits  # type: ignore[attr-defined]
    terms = torch.nn.functional.cross_entropy(logits, labels, reduction="none")
    expected = (terms * torch.tensor([2.0, 0.5, 1.0])[labels]).sum() / 6
    assert torch.allclose(head_loss("text-classification", [2.0, 0.5, 1.0])(output, labels), expected)
    assert torch.allclose(head_loss("text-classification")(output, labels, num_items_in_batch=12), terms.sum() / 12)


def test_the_order_of_rows_is_that_of_seed_and_epoch() -> None:
    lengths = [number % 13 for number in range(103)]

    def order(seed: int, epoch: int) -> list[int]:
        return list(RowOrder(lengths, 103, 8, seed, lambda: epoch))

    first = order(0, 0)
    assert first == order(0, 0) and first != order(0, 1) and first != order(1, 0)
    assert sorted(first) == list(range(103))
    steps = [[lengths[row] for row in first[start : start + 8]] for start in range(0, 96, 8)]
    assert max(max(step) - min(step) for step in steps) <= 2
    assert list(RowOrder(None, 5, 2, 0, lambda: 0)) != list(range(5))
