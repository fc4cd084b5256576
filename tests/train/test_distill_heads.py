"""Models with a head: what is compared, that a student learns its teacher's answers, with and without labels."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertForTokenClassification,
)

from QEfficient import QEFFAutoModelForSequenceClassification
from QEfficient.errors import InputError, OptionError, UsageError
from QEfficient.source.identity import tensors_digest
from QEfficient.train.distill_heads import distill_head
from QEfficient.train.distill_losses import head_terms, logits_term
from QEfficient.train.distill_request import DistillRequest, parse_distill_request
from QEfficient.train.record import Trained
from QEfficient.train.teacher import ModelWithTokenizer
from tests.tiny_repo import tiny_repo
from tests.train import small

QUICK: dict[str, Any] = {"max_steps": 30, "batch_size": 8, "learning_rate": 2e-3}
LOGITS = torch.tensor([[2.0, -1.0, 0.5], [0.0, 0.25, -3.0]])
THEIRS = torch.tensor([[1.0, 1.0, 0.0], [0.5, -0.5, 2.0]])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_repo(tmp_path_factory.mktemp("teacher"))


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> Any:
    return AutoTokenizer.from_pretrained(folder)


def module(kind: Any = BertForSequenceClassification, labels: int = 3, layers: int = 4, **more: Any) -> Any:
    """A classifier with random weights whose answers differ from text to text."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 64, "max_position_embeddings": 64}
    config = BertConfig(
        vocab_size=30522, num_hidden_layers=layers, num_labels=labels, initializer_range=0.2, **sizes, **more
    )
    made = kind(config).eval()
    head: Any = made.qa_outputs if kind is BertForQuestionAnswering else made.classifier
    head.weight.data *= 5
    return made


def learned(teacher: ModelWithTokenizer, where: Path, rows: Any, student: Any = 2, **keywords: Any) -> Trained:
    request = parse_distill_request(QUICK | {"output_dir": where} | keywords)
    return distill_head(teacher, student, rows, rows, request)


def fell(trained: Trained) -> bool:
    assert trained.course.held_out_losses is not None
    before, after = trained.course.held_out_losses
    return after < 0.7 * before


def test_logits_are_compared_as_the_formulas_say() -> None:
    own, theirs = (logits.softmax(-1) for logits in (LOGITS / 2, THEIRS / 2))
    by_hand = (theirs * (theirs.log() - own.log())).sum(-1).mean() * 4
    torch.testing.assert_close(logits_term(LOGITS, THEIRS, "one", 2.0), by_hand)
    own, theirs = LOGITS.sigmoid(), THEIRS.sigmoid()
    apart = theirs * (theirs / own).log() + (1 - theirs) * ((1 - theirs) / (1 - own)).log()
    torch.testing.assert_close(logits_term(LOGITS, THEIRS, "several", 1.0), apart.sum(-1).mean())
    torch.testing.assert_close(logits_term(LOGITS, THEIRS, "number", 3.0), (LOGITS - THEIRS).square().mean())
    for kind in ("one", "several", "number"):
        assert float(logits_term(LOGITS, LOGITS, kind, 2.0)) == pytest.approx(0, abs=1e-6)


def test_labels_have_the_rest_of_the_loss() -> None:
    labels, mask = torch.tensor([0, 2]), torch.ones(2, 4)
    terms = head_terms(BertConfig(num_labels=3), DistillRequest(alpha=0.25, temperature=1.0), False)
    taught = logits_term(LOGITS, THEIRS, "one", 1.0)
    torch.testing.assert_close(terms(LOGITS, THEIRS, None, mask), taught)
    expected = 0.25 * taught + 0.75 * functional.cross_entropy(LOGITS, labels)
    torch.testing.assert_close(terms(LOGITS, THEIRS, labels, mask), expected)


def test_tokens_that_do_not_count_do_not() -> None:
    terms = head_terms(BertConfig(num_labels=3), DistillRequest(alpha=1.0, temperature=1.0), True)
    own, theirs = LOGITS[None], THEIRS[None]
    first = logits_term(LOGITS[:1], THEIRS[:1], "one", 1.0)
    torch.testing.assert_close(terms(own, theirs, None, torch.tensor([[1, 0]])), first)
    torch.testing.assert_close(terms(own, theirs, torch.tensor([[1, -100]]), torch.tensor([[1, 1]])), first)


def test_a_student_learns_from_texts_alone_and_its_teacher_stays(tokenizer: Any, tmp_path: Path) -> None:
    names = {0: "bad", 1: "fair", 2: "good"}
    teacher = ModelWithTokenizer(
        module(id2label=names, label2id={name: place for place, name in names.items()}), tokenizer
    )
    before = tensors_digest(teacher.module)
    trained = learned(teacher, tmp_path, small.TEXTS)
    assert tensors_digest(teacher.module) == before
    assert fell(trained)
    config: Any = trained.module.config
    assert config.id2label == names and config.num_hidden_layers == 2
    assert trained.data.task == "distillation"
    [kept] = tmp_path.glob("teacher-*.npy")  # the held-out rows are the same ones here
    rows = tokenizer(small.TEXTS[3], return_tensors="pt")
    with torch.inference_mode():
        np.testing.assert_allclose(np.load(kept)[3], teacher.module(**rows).logits[0], atol=2e-5)


def test_labels_count_where_there_are_some(tokenizer: Any, tmp_path: Path) -> None:
    teacher = ModelWithTokenizer(module(labels=2), tokenizer)
    rows = small.rows("text-classification", text=small.TEXTS, label=[int("good" in text) for text in small.TEXTS])
    runs = [learned(teacher, tmp_path / str(alpha), rows, alpha=alpha, seed=1) for alpha in (1.0, 0.0)]
    assert all(fell(run) for run in runs)
    assert tensors_digest(runs[0].module) != tensors_digest(runs[1].module)
    again = learned(teacher, tmp_path / "again", rows, alpha=0.0, seed=1)
    assert tensors_digest(again.module) == tensors_digest(runs[1].module)


def test_a_broken_run_goes_on_to_the_same_weights(tokenizer: Any, tmp_path: Path) -> None:
    teacher = ModelWithTokenizer(module(), tokenizer)
    keywords = {"max_steps": 14, "save_steps": 11, "batch_size": 4}  # the second epoch begins at 10
    whole = learned(teacher, tmp_path, small.TEXTS, **keywords)
    shutil.rmtree(tmp_path / "checkpoint-14")
    resumed = learned(teacher, tmp_path, small.TEXTS, resume=True, **keywords)
    assert tensors_digest(resumed.module) == tensors_digest(whole.module)


def test_keywords_of_vectors_are_refused(tokenizer: Any, tmp_path: Path) -> None:
    for keywords in ({"weights": {"mse": 3.0}}, {"prompts": "query: "}):
        with pytest.raises(OptionError, match="does nothing"):
            learned(ModelWithTokenizer(module(), tokenizer), tmp_path, small.TEXTS, **keywords)


def test_labels_that_the_data_numbers_otherwise_are_known_by_their_names(tokenizer: Any, tmp_path: Path) -> None:
    named = module(labels=2, id2label={0: "good", 1: "bad"}, label2id={"good": 0, "bad": 1})
    teacher = ModelWithTokenizer(named, tokenizer)
    numbers = [int("good" in text) for text in small.TEXTS]
    texts = small.TEXTS
    forms = [
        small.rows("text-classification", text=texts, label=["good" if number else "bad" for number in numbers]),
        dataclasses.replace(
            small.rows("text-classification", text=texts, label=numbers), label_names=("bad", "good"), digest="numbers"
        ),
    ]
    digests = [
        tensors_digest(learned(teacher, tmp_path / rows.digest, rows, alpha=0.2, max_steps=3).module) for rows in forms
    ]
    assert digests[0] == digests[1]


def test_a_reranker_and_a_model_of_several_labels_teach_too(tokenizer: Any, tmp_path: Path) -> None:
    reranker = ModelWithTokenizer(module(labels=1), tokenizer)
    trained = learned(reranker, tmp_path / "reranker", small.graded())
    assert fell(trained) and trained.data.rows == 60  # twenty queries with three documents each
    several = ModelWithTokenizer(module(problem_type="multi_label_classification"), tokenizer)
    trained = learned(several, tmp_path / "several", small.TEXTS)
    assert fell(trained)
    assert trained.module.config.problem_type == "multi_label_classification"  # type: ignore[union-attr]


@pytest.mark.parametrize("labelled", [True, False])
def test_tokens_are_taught_one_by_one(labelled: bool, tokenizer: Any, tmp_path: Path) -> None:
    teacher = ModelWithTokenizer(module(BertForTokenClassification), tokenizer)
    words = [text.split() for text in small.TEXTS]
    tags = [[len(word) % 3 for word in row] for row in words]
    rows = small.rows("token-classification", tokens=words, tags=tags) if labelled else small.TEXTS
    assert fell(learned(teacher, tmp_path, rows))


def test_a_student_of_ones_own_is_trained_in_place(tokenizer: Any, tmp_path: Path) -> None:
    own = module(layers=1, labels=3)
    trained = learned(
        ModelWithTokenizer(module(), tokenizer), tmp_path, small.TEXTS, ModelWithTokenizer(own, tokenizer)
    )
    assert trained.module is own and fell(trained)


def test_what_does_not_fit_is_refused_before_there_is_a_folder(tokenizer: Any, tmp_path: Path) -> None:
    teacher = ModelWithTokenizer(module(), tokenizer)
    other_names = {0: "x", 1: "y", 2: "z"}
    named = module(id2label=other_names, label2id={name: place for place, name in other_names.items()})
    labels = small.rows("text-classification", text=["a", "b"], label=[0, 7])
    cases: list[tuple[type[Exception], str, Any, Any]] = [
        (InputError, "another number of labels", small.TEXTS, ModelWithTokenizer(module(labels=2), tokenizer)),
        (InputError, "labels are others", small.TEXTS, ModelWithTokenizer(named, tokenizer)),
        (InputError, "no texts", [], 2),
        (InputError, "training rows is out of range", labels, 2),
        (UsageError, "No head is distilled", small.scored_pairs(), 2),
        (OptionError, "no such layers", small.TEXTS, 7),
    ]
    for error, said, rows, student in cases:
        with pytest.raises(error, match=said):
            learned(teacher, tmp_path / "run", rows, student)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_the_student_of_a_classifier_compiles(folder: Path, tokenizer: Any, tmp_path: Path) -> None:
    where = tmp_path / "teacher"
    module().save_pretrained(where)
    tokenizer.save_pretrained(where)
    teacher = QEFFAutoModelForSequenceClassification.from_pretrained(where)
    rows = {"text": small.TEXTS, "label": [len(text) % 3 for text in small.TEXTS]}
    student = teacher.distill(
        layers=[0, 3], data=rows, task="text-classification", output_dir=tmp_path / "run", **QUICK
    )
    student.compile()
    scores = np.stack([student.predict(text) for text in small.TEXTS[:5]])
    reference = BertForSequenceClassification.from_pretrained(tmp_path / "run" / "model").eval()
    with torch.inference_mode():
        expected = reference(**tokenizer(small.TEXTS[:5], padding=True, return_tensors="pt")).logits
    np.testing.assert_allclose(scores, expected, atol=2e-5)
    assert teacher.config.num_hidden_layers == 4
