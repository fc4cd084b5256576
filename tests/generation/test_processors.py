"""Rows behind our processors and filters have the distributions that transformers' have."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from QEfficient.errors import NumericsError, OptionError
from QEfficient.generation.sampling.chain import Place, chain
from QEfficient.generation.settings_reading import parse_settings
from tests.generation.transformers_generation import processed

NAN, INF = float("nan"), float("inf")
CUTS = ("temperature", "top_p", "min_p", "top_h", "typical_p", "epsilon_cutoff", "eta_cutoff")


def row(parameters: dict[str, Any], ids: list[int], logits: NDArray[np.float32], prompt: int) -> Any:
    found = parse_settings(keywords=parameters)
    place = Place(prompt, prompt + (found.max_new_tokens or 20), len(logits), tuple(ids[:prompt]))
    return chain(found, place).row(np.array(ids, np.int64), logits)


def probabilities(logits: Any) -> Any:
    """In float64, where extreme logits keep apart."""
    weights = np.exp(np.minimum(logits.astype(np.float64) - float(logits.max()), 0))
    return weights / weights.sum()


def equal(ours: Any, theirs: Any) -> bool:
    return bool(np.abs(probabilities(ours) - probabilities(theirs)).max() < 1e-6)


def hold(parameters: dict[str, Any], ids: list[int], logits: NDArray[np.float32], prompt: int) -> None:
    """Ours is theirs; or, where a sum in float32 lies on the border of a cut, theirs for a border 1e-5 beside it."""
    before = logits.copy()
    mine = row(parameters, ids, logits, prompt)
    assert np.array_equal(before, logits, equal_nan=True)
    beside = [parameters]
    for name in set(CUTS) & set(parameters):
        beside += [{**parameters, name: min(parameters[name] * factor, 1.0)} for factor in (1 - 1e-5, 1 + 1e-5)]
    assert any(equal(mine, processed(one, ids, logits, prompt)) for one in beside), parameters


EACH = [
    {"do_sample": True, "top_k": 0, "temperature": 0.7},
    {"do_sample": True, "top_k": 0, "temperature": 3.0},
    {"do_sample": True, "top_k": 1},
    {"do_sample": True, "top_k": 5},
    {"do_sample": True, "top_k": None, "top_p": 0.3},
    {"do_sample": True, "top_k": 0, "top_p": 0.9},
    {"do_sample": True, "top_k": 0, "top_p": 0.0},
    {"do_sample": True, "top_k": 0, "min_p": 0.1},
    {"do_sample": True, "top_k": 0, "top_h": 0.4},
    {"do_sample": True, "top_k": 0, "top_h": 0.97},
    {"do_sample": True, "top_k": 0, "typical_p": 0.5},
    {"do_sample": True, "top_k": 0, "typical_p": 0.95},
    {"do_sample": True, "top_k": 0, "epsilon_cutoff": 0.02},
    {"do_sample": True, "top_k": 0, "eta_cutoff": 0.03},
    {"do_sample": True},
    {"repetition_penalty": 1.3},
    {"repetition_penalty": 0.8},
    {"encoder_repetition_penalty": 1.4},
    {"encoder_repetition_penalty": 0.7, "repetition_penalty": 1.3},
    {"no_repeat_ngram_size": 1},
    {"no_repeat_ngram_size": 2},
    {"no_repeat_ngram_size": 3},
    {"encoder_no_repeat_ngram_size": 1},
    {"encoder_no_repeat_ngram_size": 2},
    {"encoder_no_repeat_ngram_size": 3, "no_repeat_ngram_size": 2},
    {"bad_words_ids": [[4], [1, 2], [2, 3, 5]], "eos_token_id": 4},
    {"sequence_bias": {(3,): 2.5, (1, 2): -3.0, (5, 1, 2): 1.0, (1, 7): 0.5}},
    {"sequence_bias": [[[3], -2.5], [[1, 2], 4.0]]},
    {"min_length": 9, "eos_token_id": [2, 3]},
    {"min_new_tokens": 4, "eos_token_id": 2},
    {"min_new_tokens": 3, "min_length": 40, "eos_token_id": 2},
    {"forced_bos_token_id": 6},
    {"forced_eos_token_id": [5, 6], "max_new_tokens": 4},
    {"exponential_decay_length_penalty": (1, 1.5), "eos_token_id": [0, 3]},
    {"suppress_tokens": [0, 2, 99]},
    {"begin_suppress_tokens": [1, 2]},
    {"begin_suppress_tokens": [1, 2], "forced_bos_token_id": 7},
    {"renormalize_logits": True, "repetition_penalty": 1.2},
    {"do_sample": True, "num_beams": 3, "top_k": 1, "eos_token_id": [1, 2]},
    {"do_sample": True, "num_beams": 3, "top_k": 0, "top_p": 0.1},
    {"do_sample": True, "num_beams": 3, "top_k": 0, "typical_p": 0.1},
    {"do_sample": True, "num_beams": 3, "top_k": 0, "epsilon_cutoff": 0.5, "eos_token_id": 1},
    {"do_sample": True, "temperature": 0.8, "top_k": 50, "top_p": 0.9, "repetition_penalty": 1.1},
    {"do_sample": True, "temperature": 1.7, "top_k": 20, "top_p": 0.95, "min_p": 0.05, "renormalize_logits": True},
]
HISTORIES = [([5], 1), ([5, 1], 1), ([5, 1], 2), ([1, 2, 5, 1, 2, 3, 5, 1], 4), ([5, 1, 2, 3, 1, 2, 3, 5, 1, 2], 9)]


@pytest.mark.parametrize("parameters", EACH, ids=str)
@pytest.mark.parametrize("vocabulary", [8, 130])
def test_each_parameter(parameters: dict[str, Any], vocabulary: int) -> None:
    random = np.random.default_rng(vocabulary)
    for ids, prompt in HISTORIES:
        for scale in (0.1, 1.0, 6.0):
            hold(parameters, ids, (random.normal(size=vocabulary) * scale).astype(np.float32), prompt)


@pytest.mark.parametrize("parameters", [one for one in EACH if one.get("do_sample")], ids=str)
def test_each_filter_at_a_real_vocabulary(parameters: dict[str, Any]) -> None:
    random = np.random.default_rng(3)
    for scale in (0.2, 2.5):
        logits = (random.normal(size=49152) * scale).astype(np.float32)
        hold(parameters, [7, 8, 9], logits, 2)


@pytest.mark.parametrize("parameters", [one for one in EACH if one.get("do_sample")], ids=str)
def test_ties_at_a_real_vocabulary(parameters: dict[str, Any]) -> None:
    """Torch's sort and topk may keep any of equal tokens at a border, so that only the probabilities are the same."""
    random = np.random.default_rng(3)
    for scale in (0.2, 2.5):
        logits = (np.round(random.normal(size=49152) * scale * 64) / 64).astype(np.float32)
        mine, their = row(parameters, [7, 8, 9], logits, 2), processed(parameters, [7, 8, 9], logits, 2)
        assert equal(np.sort(mine), np.sort(their))


REAL = st.one_of(
    st.integers(-12, 12).map(lambda quarter: quarter / 4),  # ties
    st.floats(-30, 30, width=32),
    st.sampled_from([-INF, -1e37, 1e37, -1e4, 1e4, 0.0, -0.0]),
)
UNIT = st.sampled_from([0.05, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.97])
COMBINED = st.fixed_dictionaries(
    {"do_sample": st.booleans(), "top_k": st.sampled_from([0, 1, 2, 3, 7, 50]), "eos_token_id": st.just([1])},
    optional={
        "temperature": st.sampled_from([0.3, 0.7, 1.0, 1.3, 4.0]),
        "top_p": UNIT,
        "min_p": UNIT,
        "typical_p": UNIT,
        "epsilon_cutoff": UNIT,
        "eta_cutoff": UNIT,
        "repetition_penalty": st.sampled_from([0.9, 1.1, 1.8]),
        "no_repeat_ngram_size": st.integers(1, 3),
        "encoder_repetition_penalty": st.sampled_from([0.8, 1.2, 2.0]),
        "encoder_no_repeat_ngram_size": st.integers(1, 4),
        "bad_words_ids": st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=3), min_size=1, max_size=3).filter(
            lambda words: words != [[1]] * len(words)  # transformers fails where only end tokens are named
        ),
        "sequence_bias": st.dictionaries(
            st.lists(st.integers(0, 5), min_size=1, max_size=2).map(tuple),
            st.sampled_from([-2.0, 0.5, 3.0]),
            min_size=1,
        ),
        "min_new_tokens": st.integers(1, 5),
        "suppress_tokens": st.lists(st.integers(0, 5), max_size=3),
        "renormalize_logits": st.booleans(),
        "remove_invalid_values": st.booleans(),
    },
)


@settings(max_examples=150, deadline=None)
@given(
    COMBINED,
    st.lists(REAL, min_size=6, max_size=40),
    st.lists(st.integers(0, 5), min_size=1, max_size=12),
    st.integers(1, 12),
)
def test_combinations(parameters: dict[str, Any], logits: list[float], ids: list[int], prompt: int) -> None:
    values = np.array(logits, np.float32)
    with np.errstate(all="ignore"):
        expected = processed({**parameters, "do_sample": False}, ids, values, min(prompt, len(ids)))
    assume(np.isfinite(expected.max()))
    hold(parameters, ids, values, min(prompt, len(ids)))


def test_presence_and_frequency_are_openais() -> None:
    logits = np.zeros(6, np.float32)
    found = row({"presence_penalty": 0.5, "frequency_penalty": 0.25}, [5, 5, 1, 2, 2], logits, prompt=2)
    assert found.tolist() == [0, -0.75, -1.0, 0, 0, 0]


def test_a_logit_bias_is_added_to_what_sequence_bias_says() -> None:
    found = row({"logit_bias": {"3": 2, 1: -100}, "sequence_bias": {(3,): 0.5}}, [0], np.zeros(4, np.float32), 1)
    assert found.tolist() == [0, -100, 0, 2.5]


def test_invalid_values_are_replaced() -> None:
    logits = np.array([NAN, INF, -INF, 1], np.float32)
    theirs = processed({"remove_invalid_values": True}, [1], logits, 1)
    assert row({"remove_invalid_values": True}, [1], logits, 1).tolist() == theirs.tolist()


@pytest.mark.parametrize("do_sample", [True, False])
def test_nan_and_nothing_left_are_refused(do_sample: bool) -> None:
    from QEfficient.generation.strategies import strategies

    for logits, error in (([0, NAN, 1], NumericsError), ([-INF] * 3, OptionError)):
        (strategy,) = strategies(parse_settings(keywords={"do_sample": do_sample}), [1], 5, 3)
        with pytest.raises(error):
            strategy.advance(np.array([logits], np.float32))


def test_a_wrong_order_would_be_found() -> None:
    """Temperature behind top_p keeps other tokens than before it."""
    logits = np.linspace(-3, 3, 50).astype(np.float32)
    own = chain(parse_settings(keywords={"do_sample": True, "top_k": 0, "top_p": 0.5}), Place(1, 9, 50))
    late = own.row(np.array([1]), logits) / np.float32(2)
    assert not equal(late, processed({"do_sample": True, "top_k": 0, "top_p": 0.5, "temperature": 2.0}, [1], logits, 1))
