"""Question answering: a student learns where its teacher's answers start and end, with and without own answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import BertForQuestionAnswering, PreTrainedTokenizerFast

from QEfficient import QEFFAutoModelForQuestionAnswering
from QEfficient.errors import InputError, UsageError
from QEfficient.evaluate.data import read_examples
from QEfficient.train.distill_losses import ends_term, ends_terms
from QEfficient.train.distill_request import DistillRequest
from QEfficient.train.distill_texts import read_questions
from QEfficient.train.teacher import ModelWithTokenizer
from tests.train import small
from tests.train.test_distill_heads import fell, learned, module

ROWS = [
    {"question": f"who is {name}", "context": "so " * (40 * (number % 2)) + f"{name} is good", "answers": ["good"]}
    for number, name in enumerate(("anna", "ben", "cleo", "dan", "eve", "finn", "gus", "hal"))
]


def teacher(repo: Path) -> ModelWithTokenizer:
    made = module(BertForQuestionAnswering, labels=2)
    return ModelWithTokenizer(made, small.tokenizer(repo))


def test_ends_are_compared_as_the_formula_says() -> None:
    generator = torch.Generator().manual_seed(0)
    own, theirs = (torch.randn(2, 4, 2, generator=generator) for _ in range(2))
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])
    terms = []
    for window, tokens in ((0, 4), (1, 3)):
        for end in (0, 1):
            mine, right = ((logits[window, :tokens, end] / 2).softmax(-1) for logits in (own, theirs))
            terms.append((right * (right.log() - mine.log())).sum() * 4)
    torch.testing.assert_close(ends_term(own, theirs, mask, 2.0), torch.stack(terms).mean())
    for temperature in (0.1, 1.0, 50.0):
        assert float(ends_term(own, own, mask, temperature)) == pytest.approx(0, abs=1e-6)


def test_padding_changes_nothing_and_answers_have_the_rest_of_the_loss() -> None:
    generator = torch.Generator().manual_seed(0)
    own, theirs = (torch.randn(1, 3, 2, generator=generator) for _ in range(2))
    labels = torch.tensor([[1, 2]])
    loss = ends_terms(DistillRequest(alpha=0.25, temperature=3.0))
    alone = loss(own, theirs, labels, torch.ones(1, 3))
    right = torch.stack([torch.nn.functional.cross_entropy(own[:, :, end], labels[:, end]) for end in (0, 1)]).mean()
    torch.testing.assert_close(alone, 0.25 * ends_term(own, theirs, torch.ones(1, 3), 3.0) + 0.75 * right)
    wider = [torch.cat([logits, torch.full((1, 2, 2), 7.0)], 1) for logits in (own, theirs)]
    padded = loss(*[one.requires_grad_() for one in wider], labels, torch.tensor([[1, 1, 1, 0, 0]]))
    torch.testing.assert_close(padded, alone)
    padded.backward()
    assert wider[0].grad is not None and float(wider[0].grad[:, 3:].abs().max()) == 0


@pytest.mark.parametrize("answers", [False, True])
def test_a_student_learns_with_and_without_answers(repo: Path, tmp_path: Path, answers: bool) -> None:
    rows = read_examples(ROWS, "question-answering") if answers else read_questions(ROWS)
    assert ("answers" in rows.columns) == answers
    found = learned(teacher(repo), tmp_path, rows, max_length=32, alpha=0.9)
    assert fell(found) and found.module.config.num_hidden_layers == 2


def test_the_object_gives_a_student_that_answers(repo: Path, tmp_path: Path) -> None:
    own = QEFFAutoModelForQuestionAnswering(teacher(repo).module)
    keywords: dict[str, Any] = {"tokenizer": small.tokenizer(repo), "max_steps": 2, "batch_size": 4}
    student = own.distill(layers=1, data=ROWS, eval=ROWS, task="question-answering", **keywords)
    assert student.model.config.num_hidden_layers == 1
    assert student.trained is not None and own.trained is None
    [gain, *_] = student.trained["metrics"]
    assert gain["name"] == "f1" and gain["after"]["value"] == student.evaluate(ROWS)["f1"].value
    plain = own.distill(layers=1, data=[{"question": "who", "context": "anna lives here"}] * 4, **keywords)
    assert plain.trained is not None and plain.trained["metrics"] == []


def test_a_student_that_reads_otherwise_is_refused(repo: Path, tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = {word: number for number, word in enumerate(("[UNK]", "[PAD]", "anna", "is", "good", "so", "who"))}
    plain = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    plain.pre_tokenizer = pre_tokenizers.Whitespace()
    other = PreTrainedTokenizerFast(tokenizer_object=plain, unk_token="[UNK]", pad_token="[PAD]", model_max_length=64)
    student = ModelWithTokenizer(module(BertForQuestionAnswering, labels=2, layers=1), other)
    with pytest.raises(InputError, match="other tokens"):
        learned(teacher(repo), tmp_path, read_questions(ROWS), student)
    with pytest.raises(UsageError, match="Questions with contexts"):
        learned(teacher(repo), tmp_path, small.TEXTS)
    with pytest.raises(UsageError, match="Questions with contexts"):
        learned(ModelWithTokenizer(module(), small.tokenizer(repo)), tmp_path, read_questions(ROWS))
