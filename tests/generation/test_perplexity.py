"""Perplexity equals what its definition says, written out plainly, for any rows, windows and steps."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from QEfficient.errors import InputError, UsageError
from QEfficient.generation.engine import Engine
from QEfficient.generation.perplexity import Perplexity, perplexity
from QEfficient.records import DecoderFacts
from tests.generation.doubles import MadeUpDecoder

TEXTS = st.lists(st.lists(st.integers(0, 16), min_size=2, max_size=40), min_size=1, max_size=6)


def plainly(decoder: MadeUpDecoder, ids: list[int], room: int, stride: int) -> tuple[float, int]:
    """HuggingFace's guide: https://huggingface.co/docs/transformers/perplexity, with sums in place of means."""
    loss, count, before = 0.0, 0, 0
    for begin in range(0, len(ids), stride):
        end = min(begin + room, len(ids))
        for place in range(max(before, begin + 1), end):
            logits = torch.from_numpy(decoder.logits(ids[begin:place])).double()
            loss -= float(torch.log_softmax(logits, 0)[ids[place]])
            count += 1
        before = end
        if end == len(ids):
            break
    return loss, count


@settings(max_examples=60, deadline=None)
@given(TEXTS, st.integers(2, 12), st.integers(1, 4), st.integers(1, 3), st.booleans(), st.data())
def test_any_windows(texts: list[list[int]], ctx: int, slots: int, kept: int, plain: bool, data: st.DataObject) -> None:
    facts = DecoderFacts(ctx + plain, slots, slots, prefill_len=3, continuous=not plain, kept_logits=kept)
    stride = data.draw(st.integers(1, ctx))
    decoder = MadeUpDecoder(facts)
    found = perplexity(Engine(decoder), texts, stride=stride)
    wanted = [plainly(decoder, ids, ctx, stride) for ids in texts]
    assert found.tokens == tuple(count for _, count in wanted)
    np.testing.assert_allclose(found.losses, [loss for loss, _ in wanted], rtol=1e-6)
    total, count = sum(loss for loss, _ in wanted), sum(count for _, count in wanted)
    assert math.isclose(float(found), math.exp(total / count), rel_tol=1e-6)
    assert max(decoder.decodes, default=0) <= slots


def test_all_rows_run_at_once() -> None:
    decoder = MadeUpDecoder(DecoderFacts(40, 4, 4, 4))
    perplexity(Engine(decoder), [list(range(place, 17)) + [place] * 20 for place in range(8)])
    assert sum(decoder.decodes) / len(decoder.decodes) > 3


def test_the_value_of_all_weighs_tokens_and_not_texts() -> None:
    found = Perplexity(losses=(math.log(2.0), 3 * math.log(4.0)), tokens=(1, 3))
    assert np.allclose(found.per_text, (2.0, 4.0))
    assert math.isclose(found.value, 2 ** (7 / 4))


@pytest.mark.parametrize("stride", [0, -1, 17, 1.5, True, "2"])
def test_a_stride_out_of_range(stride: object) -> None:
    with pytest.raises(UsageError, match="1 to 16"):
        perplexity(Engine(MadeUpDecoder(DecoderFacts(16, 1, 1, 4))), [[1, 2]], stride=stride)  # type: ignore[arg-type]


def test_nothing_to_predict_is_named() -> None:
    with pytest.raises(InputError, match=r"Text 1 has nothing to predict(?s:.*)1 token\n"):
        perplexity(Engine(MadeUpDecoder(DecoderFacts(16, 1, 1, 4))), [[1, 2], [3]])
