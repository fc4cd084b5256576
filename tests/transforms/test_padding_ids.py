"""Tokens that a head picks by their ids: padding does not count, whatever ids stand there. Every causal classifier."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers
from torch import Tensor
from transformers.models.auto.modeling_auto import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES as CLASSES

from QEfficient import QEFFAutoModelForSequenceClassification
from QEfficient.build.torch_graph import graph_module
from QEfficient.build.torch_reference import reference
from QEfficient.pytorch_transforms.padding_ids import takes_last_column
from tests.sweep import decoders, seq2seq, text_encoders
from tests.sweep.build import tokens
from tests.sweep.case import LIMIT, VOCAB, Case

DECODERS = [case for case in decoders.CASES if case.model_type in CLASSES and not case.refused]
WITHOUT = (None, -1, VOCAB)
"""Pad ids that no row can hold: none, and some outside of the table."""


def classifier(case: Case, **changes: Any) -> Any:
    kind = getattr(transformers, str(CLASSES[case.model_type]))
    torch.manual_seed(0)
    return kind(kind.config_class(**(dict(case.config) | changes), num_labels=3)).eval()


def rows() -> dict[str, Tensor]:
    """Row 0 is whole, row 1 padded on its right, row 2 on its left, row 3 one token."""
    ids = tokens((4, 12, "none"))["input_ids"]
    mask = torch.ones_like(ids)
    mask[1, 5:] = mask[2, :4] = mask[3, 1:] = 0
    ids[mask == 0] = 4
    return {"input_ids": ids, "attention_mask": mask}


def alone(model: Any, batch: dict[str, Tensor]) -> Tensor:
    """HuggingFace's scores of each row by itself, without what stands behind it."""
    scores = []
    for row, mask in enumerate(batch["attention_mask"]):
        length = int(mask.nonzero().max()) + 1
        with torch.no_grad():
            scores.append(model(**{name: array[row : row + 1, :length] for name, array in batch.items()}).logits)
    return torch.cat(scores)


def both(model: Any, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """The module that is exported, and what its graph is compared with."""
    recipe = QEFFAutoModelForSequenceClassification(model)._recipe(False, "on")
    with torch.no_grad():
        return graph_module(recipe)[0](**batch)[0], reference(recipe, float32=True)(**batch)["logits"]


def check(model: Any, batch: dict[str, Tensor]) -> None:
    want = alone(model, batch)
    assert (want[0] - want[1]).abs().max() > 1e-3
    for got in both(model, batch):
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("case", DECODERS, ids=lambda case: case.name)
def test_a_causal_classifier_needs_no_pad_id(case: Case) -> None:
    """HuggingFace takes such rows one at a time only, or scores their padding."""
    tried = 0
    for pad in WITHOUT:
        try:
            model = classifier(case, pad_token_id=pad)
        except Exception:  # transformers itself makes no model of this config
            continue
        tried += 1
        assert takes_last_column(model)
        config = model.config.to_dict()
        check(model, rows())
        assert model.config.to_dict() == config and not model._forward_pre_hooks
    assert tried


@pytest.mark.parametrize("name", ["qwen3", "gpt2", "opt", "modernbert-decoder"])
def test_with_a_pad_id_words_of_that_id_are_left_out_as_in_huggingface(name: str) -> None:
    case = next(case for case in DECODERS if case.name == name)
    model = classifier(case, pad_token_id=0)
    batch = rows()
    batch["input_ids"][batch["attention_mask"] == 0] = 0
    batch["input_ids"][0, -1] = batch["input_ids"][1, 4] = batch["input_ids"][2, 7] = 0  # ends of texts, and a middle
    assert not takes_last_column(model)
    check(model, batch)


def test_a_real_token_may_have_the_id_that_pads_in_the_tokenizer() -> None:
    """Without a pad id every id is a word's: also that of the end token, which tokenizers of GPT-2 fill rows with."""
    model = classifier(next(case for case in DECODERS if case.name == "gpt2"), pad_token_id=None)
    batch = rows()
    batch["input_ids"][0, -1] = batch["input_ids"][1, 4] = 4
    check(model, batch)


@pytest.mark.parametrize("name", ["bert", "distilbert", "deberta-v2", "electra", "modernbert"])
def test_encoders_are_left_as_they_are(name: str) -> None:
    case = next(case for case in text_encoders.CASES if case.name == name)
    assert not takes_last_column(classifier(case, pad_token_id=-1 if name == "modernbert" else None))


def test_a_decoder_behind_an_encoder_counts_another_way() -> None:
    case = next(case for case in seq2seq.CASES if case.name == "t5gemma")
    assert not takes_last_column(classifier(case))


def test_a_model_that_fails_on_one_row_too_says_nothing_of_padding() -> None:
    model = classifier(next(case for case in DECODERS if case.name == "llama"), pad_token_id=None)
    model.model.layers[0].register_forward_pre_hook(lambda *_: 1 / 0)
    assert not takes_last_column(model)


def test_the_longest_row_is_as_right_as_a_short_one() -> None:
    model = classifier(next(case for case in DECODERS if case.name == "llama"), pad_token_id=None)
    batch = tokens((5, LIMIT, "right"), pad=7)
    check(model, batch)
