"""Sampling and beams over the engine's slots: what a request gives does not depend on what runs beside it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from QEfficient.generation.engine import Engine
from QEfficient.generation.requests import Request
from QEfficient.generation.settings_reading import parse_settings
from QEfficient.generation.strategies import strategies
from QEfficient.generation.strategy import Answer, Strategy
from QEfficient.records import DecoderFacts
from tests.generation.hash_decoder import VOCABULARY, HashDecoder, hashed

ASKED: list[dict[str, Any]] = [
    {},
    {"repetition_penalty": 1.3, "eos_token_id": [3, 5]},
    {"do_sample": True, "seed": 7},
    {"do_sample": True, "seed": 7, "num_return_sequences": 3, "top_p": 0.8},
    {"num_beams": 3, "num_return_sequences": 2, "eos_token_id": 4},
    {"num_beams": 4, "do_sample": True, "seed": 3, "length_penalty": 0.5, "eos_token_id": [2, 9]},
    {"do_sample": True, "seed": 8, "logprobs": 2, "no_repeat_ngram_size": 2},
]


def made(place: int, most: int = 11) -> tuple[list[int], tuple[Strategy, ...]]:
    prompt = [place, 1, *range(place % 5)]
    return prompt, strategies(parse_settings(keywords=ASKED[place]), prompt, most, VOCABULARY)


def alone(prompt: Sequence[int], strategy: Strategy) -> tuple[Answer, ...]:
    rows = [list(prompt)]
    while True:
        step = strategy.advance(np.stack([hashed(row) for row in rows]))
        if step.done:
            return strategy.answers()
        rows = [[*rows[parent], token] for parent, token in zip(step.parents, step.tokens, strict=True)]


@pytest.mark.parametrize("turn", range(4))
def test_neighbours_and_order_change_nothing(turn: int) -> None:
    order = np.random.default_rng(turn).permutation(len(ASKED)).tolist()
    engine = Engine(HashDecoder(DecoderFacts(ctx_len=40, cache_slots=9, decode_rows=5, prefill_len=3)))
    tickets = []
    for place in order:
        prompt, several = made(place)
        tickets += [(place, n, engine.submit(Request(tuple(prompt), one, 11))) for n, one in enumerate(several)]
        engine.step()
    for place, n, ticket in tickets:
        prompt, several = made(place)
        assert engine.run_until(ticket) == alone(prompt, several[n])
        assert ticket.reason == ticket.answers[0].reason
