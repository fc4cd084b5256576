"""Prompt look-up: what is drafted, how far it is trusted, how many tokens of a row are run, and that tokens stay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from QEfficient.errors import InputError, OptionError, UsageError
from QEfficient.generation.call import read_call
from QEfficient.generation.engine import Engine
from QEfficient.generation.prompt_lookup import Draft, PromptLookup, rows_width
from QEfficient.generation.requests import Request, Ticket
from QEfficient.generation.schedule import EngineSettings
from QEfficient.generation.settings_reading import parse_settings
from QEfficient.generation.strategies import Hooks, strategies
from QEfficient.records import DecoderFacts
from tests.generation.hash_decoder import VOCABULARY, Fan, HashDecoder, hashed

FACTS = DecoderFacts(ctx_len=64, cache_slots=4, decode_rows=3, prefill_len=9, kept_logits=6)


def drafted(ids: Sequence[int], most: int = 4, longest: int | None = None) -> list[int]:
    return list(PromptLookup(most, longest).draft(ids, most).ids)


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        ([], []),
        ([5], []),
        ([1, 2, 3], []),
        ([1, 2, 3, 4, 5, 6, 1], [2, 3, 4, 5]),
        ([7, 1, 2, 9, 8, 1, 3, 9, 0, 7, 1], [2, 9, 8, 1]),  # two tokens agree there, and one at the later place
        ([1, 2, 9, 9, 9, 1, 3, 8, 8, 8, 1], [3, 8, 8, 8]),  # of equal ones the last
        ([4, 1, 2, 1, 2], [1, 2, 1, 2]),  # round and round
        ([3, 3], [3, 3, 3, 3]),
    ],
)
def test_what_followed_the_last_tokens_is_drafted(ids: list[int], expected: list[int]) -> None:
    assert drafted(ids) == expected


def test_no_more_is_compared_and_drafted_than_was_asked_for() -> None:
    ids = [7, 1, 2, 9, 8, 1, 3, 9, 0, 7, 1]
    assert drafted(ids, longest=1) == [3, 9, 0, 7]
    assert drafted(ids, most=2) == [2, 9]
    lookup = PromptLookup(4)
    assert [list(lookup.draft(ids, most).ids) for most in (0, 1, 3, 9)] == [[], [2], [2, 9, 8], [2, 9, 8, 1]]


@settings(deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=40), st.integers(1, 6))
def test_the_place_is_that_before_which_most_agrees(ids: list[int], most: int) -> None:
    def agreeing(place: int) -> int:
        count = 0
        while count < place and ids[place - 1 - count] == ids[-1 - count]:
            count += 1
        return count

    best = max(range(len(ids)), key=lambda place: (agreeing(place), place))
    expected = list(ids)
    if agreeing(best):
        for token in range(most):
            expected.append(expected[best + token])
    assert drafted(ids, most) == expected[len(ids) :]


def odds_behind(text: Sequence[int], start: int) -> list[tuple[float, ...]]:
    lookup = PromptLookup(4)
    return [lookup.draft(text[:end], 4).odds for end in range(start, len(text))]


def test_a_text_that_repeats_is_trusted_more_and_one_that_does_not_less() -> None:
    words = np.random.default_rng(0).permutation(60).tolist()
    faithful = odds_behind([*words, *words], len(words) + 1)
    assert faithful[-1][3] > 0.9 > 0.3 > faithful[0][0]
    assert all(list(one) == sorted(one, reverse=True) for one in faithful)
    noise = odds_behind(np.random.default_rng(1).integers(0, 8, 400).tolist(), 100)
    assert np.mean([one[0] for one in noise[150:] if one]) < 0.25
    again = odds_behind([*np.random.default_rng(1).integers(0, 8, 200).tolist(), *words, *words], 260)
    assert again[-1][3] > 0.8


def test_it_learns_where_nothing_is_run() -> None:
    """What is drafted is what may be run; the odds know of every guess."""
    text = [*range(40), *range(40)]
    asked, silent = PromptLookup(4), PromptLookup(4)
    for end in range(41, 79):
        loud = asked.draft(text[:end], 4)
        assert silent.draft(text[:end], 0) == Draft()
    assert silent.draft(text[:79], 4).odds == asked.draft(text[:79], 4).odds and loud.odds[0] > 0.9


# ------------------------------------------------------------------------------------------------ how many are run


@pytest.mark.parametrize(
    ("odds", "cost", "width"),
    [
        ([()], 0.1, 1),
        ([(0.9, 0.8, 0.7)], 0.1, 4),
        ([(0.9, 0.8, 0.7)], 0.0, 4),
        ([(0.9, 0.8, 0.01)], 0.1, 3),
        ([(0.1, 0.05)], 0.1, 1),
        ([(0.04,)], 0.0, 1),  # not worth a guess
        ([(0.9,), (), (), (), (), (), (), ()], 0.1, 1),  # seven rows would be run for nothing
        ([(0.9,), (0.9,), (), (), (), (), (), ()], 0.005, 2),
        ([(0.9, 0.2), (0.9, 0.2), (0.9,), (0.9,)], 0.1, 2),
    ],
)
def test_as_many_are_run_as_are_worth_their_time(odds: list[tuple[float, ...]], cost: float, width: int) -> None:
    assert rows_width([Draft(tuple(range(len(one))), one) for one in odds], cost) == width


# ------------------------------------------------------------------------------------------------ in the engine


class Repeating(HashDecoder):
    """Logits that a text repeats itself by: they follow from its last token, wherever that stands."""

    def _write(self, chunk: Any) -> Any:
        super()._write(chunk)
        held = self.slots[chunk.slot] or []
        return np.stack([2 * hashed(held[end : end + 1]) for end in range(chunk.start, len(held))])


ASKED: list[dict[str, Any]] = [
    {},
    {"do_sample": True, "seed": 5, "temperature": 0.3},
    {"do_sample": True, "seed": 6, "top_k": 3, "repetition_penalty": 1.2, "logprobs": 2},
    {"no_repeat_ngram_size": 3, "eos_token_id": [3], "min_new_tokens": 9},
    {"presence_penalty": 0.3, "frequency_penalty": 0.1, "output_scores": True, "output_logits": True},
    {"do_sample": True, "seed": 5, "num_return_sequences": 3, "temperature": 0.4, "eos_token_id": [1, 2]},
]


def run(asked: dict[str, Any], look_up: bool, token_cost: float = 0.01, **facts: Any) -> tuple[list[Ticket], Engine]:
    """Requests for several prompts at once."""
    engine = Engine(Repeating(replace(FACTS, **facts)), EngineSettings(token_cost=token_cost))
    tickets = []
    for start in range(4):
        prompt = [start, *range(1, 8), start, *range(1, 5)]
        for strategy in strategies(parse_settings(keywords=asked), prompt, 40, VOCABULARY):
            drafter = PromptLookup(5) if look_up else None
            tickets.append(engine.submit(Request(tuple(prompt), strategy, 40, drafter=drafter)))
    for ticket in tickets:
        engine.run_until(ticket)
    return tickets, engine


def same(one: Any, other: Any) -> None:
    """Answers, scores and all."""
    assert [(answer.ids, answer.reason, answer.logprobs, answer.top_logprobs) for answer in one] == [
        (answer.ids, answer.reason, answer.logprobs, answer.top_logprobs) for answer in other
    ]
    for mine, theirs in zip(one, other, strict=True):
        np.testing.assert_array_equal(mine.scores, theirs.scores)
        np.testing.assert_array_equal(mine.logits, theirs.logits)


@pytest.mark.parametrize("rewinds", [True, False])
@pytest.mark.parametrize("asked", ASKED)
def test_everything_is_as_without_and_takes_fewer_steps(asked: dict[str, Any], rewinds: bool) -> None:
    without, plain = run(asked, False)
    with_it, quick = run(asked, True, rewinds=rewinds)
    for one, other in zip(with_it, without, strict=True):
        same(one.answers, other.answers)
        assert one.tokens == other.tokens and one.reason == other.reason
    counts = quick.counts()
    assert plain.counts().drafted == 0 < counts.accepted <= counts.drafted
    assert counts.decode_runs < plain.counts().decode_runs
    assert counts.decoded + counts.accepted >= sum(len(ticket.tokens) - 1 for ticket in with_it)


class Wrong:
    """Drafts tokens that nobody chooses."""

    def draft(self, ids: Sequence[int], most: int) -> Draft:
        return Draft((int(hashed(ids[-1:]).argmin()),) * most, (1.0,) * most)


@pytest.mark.parametrize("rewinds", [True, False])
def test_a_text_goes_on_behind_tokens_that_were_drafted_and_not_chosen(rewinds: bool) -> None:
    """In a slot that can't be rewound too: what it holds is what was chosen, all or nothing."""
    engine = Engine(Repeating(replace(FACTS, rewinds=rewinds)))

    def ask(prompt: Sequence[int]) -> Ticket:
        stops = Hooks(stops=[lambda ids: len(ids) == 9])
        [strategy] = strategies(parse_settings(keywords={}), prompt, 30, VOCABULARY, stops)
        ticket = engine.submit(Request(tuple(prompt), strategy, drafter=Wrong()))
        engine.run_until(ticket)
        return ticket

    first = ask([1, 2, 3, 4])
    second = ask([1, 2, 3, 4, *first.tokens, 7])
    assert first.reason == "stop" and first.drafted > 0 == first.accepted
    assert second.reused == 4 + 9 - 1


def test_the_dearer_tokens_are_the_fewer_are_drafted() -> None:
    drafted = [run({}, True, token_cost=cost)[1].counts().drafted for cost in (0.01, 1.0, 10.0)]
    assert drafted[0] > drafted[1] > drafted[2]


def test_a_program_of_one_token_a_step_drafts_none() -> None:
    _, engine = run({}, True, kept_logits=1)
    assert engine.counts().drafted == 0


def test_beams_have_no_drafter() -> None:
    engine = Engine(HashDecoder(FACTS))
    with pytest.raises(InputError, match="one row"):
        engine.submit(Request((1, 2), Fan(2), drafter=PromptLookup(3)))


# ------------------------------------------------------------------------------------------------ settings and calls


def asked_for(facts: DecoderFacts, **keywords: Any) -> int:
    """Tokens that a call drafts at once."""
    [[request, *_]] = read_call(keywords, {}, None).requests([[1, 2, 1]], facts, VOCABULARY)
    return 0 if request.drafter is None else len(request.drafter.draft([1, 2, 1], 99).ids)


@pytest.mark.parametrize(
    ("keywords", "speculated", "most"),
    [
        ({}, 0, 0),
        ({}, 5, 5),
        ({"prompt_lookup_num_tokens": 3}, 0, 3),
        ({"prompt_lookup_num_tokens": 3}, 5, 3),
        ({"prompt_lookup_num_tokens": 99}, 0, 5),  # no more than the program takes
        ({"prompt_lookup_num_tokens": 0}, 5, 0),
        ({"prompt_lookup_num_tokens": None}, 5, 0),  # as in transformers, None is off
        ({"num_beams": 2}, 5, 0),
        ({"do_sample": True, "num_return_sequences": 2, "prompt_lookup_num_tokens": 2}, 0, 2),
    ],
)
def test_how_many_are_drafted_is_the_calls_or_the_programs(keywords: Any, speculated: int, most: int) -> None:
    assert asked_for(replace(FACTS, speculated=speculated), **keywords) == most


def test_a_program_without_the_logits_for_it_says_so() -> None:
    with pytest.raises(UsageError, match="num_speculative_tokens=4"):
        asked_for(replace(FACTS, kept_logits=1), prompt_lookup_num_tokens=4)
    assert asked_for(replace(FACTS, kept_logits=1), prompt_lookup_num_tokens=0) == 0


def test_each_request_has_a_drafter_of_its_own() -> None:
    call = read_call({"prompt_lookup_num_tokens": 2, "do_sample": True, "num_return_sequences": 2}, {}, None)
    found = [one.drafter for many in call.requests([[1], [2]], FACTS, VOCABULARY) for one in many]
    assert len(set(map(id, found))) == 4


def test_beams_and_look_up_are_refused_by_name() -> None:
    with pytest.raises(OptionError, match=r"(?s)prompt_lookup_num_tokens=4, num_beams=3"):
        parse_settings(keywords={"prompt_lookup_num_tokens": 4, "num_beams": 3})
    for name in ("assistant_model", "is_tlm"):
        with pytest.raises(UsageError, match="(?s)" + name + ".*prompt_lookup_num_tokens"):
            read_call({name: object()}, {}, None)
