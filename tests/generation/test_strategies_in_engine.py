"""Sampling and beams over the engine's slots: what a request gives does not depend on what runs beside it."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from QEfficient.generation.engine import Engine
from QEfficient.generation.requests import Request
from QEfficient.generation.settings_reading import parse_settings
from QEfficient.generation.stopping import stops_at
from QEfficient.generation.strategies import NO_HOOKS, Hooks, strategies
from QEfficient.generation.strategy import Answer, Strategy
from QEfficient.records import DecoderFacts
from QEfficient.text.stopping import StopTokens
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


def made(place: int, most: int = 11, hooks: Hooks = NO_HOOKS) -> tuple[list[int], tuple[Strategy, ...]]:
    prompt = [place, 1, *range(place % 5)]
    return prompt, strategies(parse_settings(keywords=ASKED[place]), prompt, most, VOCABULARY, hooks)


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


def test_a_stop_of_text_depends_on_the_ids_alone() -> None:
    words = {token: text.encode() for token, text in enumerate(["a", "b", "ab", "c", "ca", "", "b c", "bca"])}
    tokenizer: Any = SimpleNamespace(token_bytes=words.__getitem__)
    random = np.random.default_rng(5)
    stop_words, found = ["bca", "cab c", "aaa"], 0
    for _ in range(300):
        prompt = [token for token in random.integers(0, 8, random.integers(0, 7)).tolist() if token != 5]
        ids = [token for token in random.integers(0, 8, 12).tolist() if token != 5]
        follows, stop = StopTokens(tokenizer, stop_words, prompt), stops_at(tokenizer, stop_words, prompt)
        for n, token in enumerate(ids, 1):
            ended = follows(token)
            assert stop(np.array(ids[:n])) == ended
            found += ended
            if ended:
                break
    assert found > 50


def test_stop_strings_end_beams_and_single_sequences() -> None:
    words = {token: "abcdefghijklmnop"[token].encode() for token in range(VOCABULARY)}
    tokenizer: Any = SimpleNamespace(token_bytes=words.__getitem__)
    for place in (0, 2, 4):
        prompt, several = made(place, 30, Hooks(stops=[stops_at(tokenizer, ["c", "f", "no"])]))
        for answer in alone(prompt, several[0]):
            text = b"".join(words[token] for token in answer.ids)
            assert answer.reason in ("stop", "length")
            assert not any(word in text[:-1] for word in (b"c", b"f", b"no"))
