"""What an engine promises, one thing a test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from QEfficient.errors import DeviceError, InputError, NumericsError, OptionError, UsageError
from QEfficient.generation.engine import Engine
from QEfficient.generation.requests import Request, Ticket
from QEfficient.generation.schedule import EngineSettings
from QEfficient.generation.strategy import NextTokens
from QEfficient.records import DecoderFacts
from tests.generation.engine_model import alone
from tests.generation.hash_decoder import Fan, HashDecoder, Pick

FACTS = DecoderFacts(ctx_len=64, cache_slots=4, decode_rows=4, prefill_len=8)
PROMPT = tuple(range(1, 15)) * 2


def opened(facts: DecoderFacts = FACTS, failures: Any = None, **settings: Any) -> tuple[Engine, HashDecoder]:
    decoder = HashDecoder(facts, failures)
    return Engine(decoder, EngineSettings(**settings)), decoder


def asked(engine: Engine, ids: Sequence[int] = PROMPT, most: int | None = 5, **more: Any) -> Ticket:
    return engine.submit(Request(tuple(ids), Pick(most=most), **more))


def tokens(ids: Sequence[int] = PROMPT, most: int | None = 5, facts: DecoderFacts = FACTS) -> tuple[int, ...]:
    """What a prompt gives alone."""
    (answer,) = alone(Request(tuple(ids), Pick()), facts, Pick(most=most)).answers
    return answer.ids


def names(decoder: HashDecoder) -> list[str]:
    return [name for name, _ in decoder.log]


# ---------------------------------------------------------------------------------------------- lengths


def test_what_does_not_fit_is_refused_with_both_numbers_before_anything_runs() -> None:
    engine, decoder = opened()
    with pytest.raises(InputError, match=r"28 tokens of the prompt \+ 37 new = 65\n.*64 together"):
        asked(engine, wanted=37)
    with pytest.raises(InputError, match="the program's context"):
        asked(engine, ids=range(64))
    assert not decoder.log
    asked(engine, wanted=36)


def test_without_slots_the_last_position_takes_dropped_writes() -> None:
    engine, _ = opened(replace(FACTS, continuous=False))
    with pytest.raises(InputError, match="63 together"):
        asked(engine, wanted=36)


def test_the_room_used_up_is_a_reason() -> None:
    engine, decoder = opened()
    ticket = asked(engine, most=None)
    (answer,) = engine.run_until(ticket)
    assert (ticket.reason, answer.reason, len(answer.ids)) == ("length", "length", 64 - 28)
    assert answer.ids == tokens(most=None)
    assert not decoder.faults


def test_what_is_wanted_is_an_end_of_the_engine_too() -> None:
    engine, _ = opened()
    ticket = asked(engine, most=None, wanted=3)
    assert engine.run_until(ticket)[0].ids == tokens(most=3)
    assert ticket.reason == "length"


@pytest.mark.parametrize("how", [{"ids": ()}, {"wanted": 0}])
def test_nothing_to_do_is_refused(how: dict[str, Any]) -> None:
    engine, _ = opened()
    with pytest.raises(InputError):
        asked(engine, **how)


def test_more_rows_than_slots_are_refused() -> None:
    engine, _ = opened()
    with pytest.raises(InputError, match="5 rows"):
        engine.submit(Request(PROMPT, Fan(rows=5)))


@pytest.mark.parametrize(
    "wrong", [{"chunk": 9}, {"chunk": 0}, {"prefill_runs": 0}, {"patient_runs": 0}, {"retries": -1}, {"copy_saves": 0}]
)
def test_settings_that_do_not_fit_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(OptionError, match=next(iter(wrong))):
        opened(**wrong)


# ---------------------------------------------------------------------------------------------- who runs when


@pytest.mark.parametrize("chunk", [1, 3, 7, 8, None])
@pytest.mark.parametrize("rows", [1, 3, 4])
@pytest.mark.parametrize("order", [1, -1])
def test_neither_chunk_nor_order_nor_neighbours_change_a_token(chunk: int | None, rows: int, order: int) -> None:
    engine, _ = opened(replace(FACTS, decode_rows=rows), chunk=chunk)
    prompts = [tuple(range(n, 3 * n + 5)) for n in range(9)][::order]
    tickets = [asked(engine, prompt) for prompt in prompts]
    for prompt, ticket in zip(prompts, tickets, strict=True):
        assert engine.run_until(ticket)[0].ids == tokens(prompt)


def runs_of_a_second_prompt(**settings: Any) -> list[str]:
    """What is run from when a prompt comes in, beside one that is written, until its first token."""
    engine, decoder = opened(copy_saves=None, **settings)
    first = asked(engine, most=20)
    while not first.tokens:
        engine.step()
    begun = len(decoder.log)
    second = asked(engine, [9, *PROMPT])
    while not second.tokens:
        engine.step()
    return names(decoder)[begun:]


def test_what_is_written_waits_for_one_chunk_at_most() -> None:
    assert runs_of_a_second_prompt() == ["decode", "prefill"] * 3 + ["decode", "prefill"]


def test_more_runs_of_prompts_between_decode_steps_can_be_asked_for() -> None:
    assert runs_of_a_second_prompt(prefill_runs=3) == ["decode", *["prefill"] * 3, "decode", "prefill"]


def test_patient_requests_let_all_prompts_run_first() -> None:
    engine, decoder = opened(copy_saves=None)
    tickets = [asked(engine, [n, *PROMPT], patient=True) for n in range(4)]
    for ticket in tickets:
        assert engine.run_until(ticket)[0].ids == tokens([*ticket.request.ids])
    assert names(decoder) == ["prefill"] * 16 + ["decode"] * 4


def test_one_that_is_not_patient_counts_for_all() -> None:
    engine, decoder = opened(copy_saves=None)
    asked(engine, [7], most=20)
    for n in range(3):
        asked(engine, [n, *PROMPT], patient=True)
    for _ in range(24):
        engine.step()
    assert names(decoder) == ["prefill", "decode"] * 12


def test_patience_ends() -> None:
    engine, decoder = opened(copy_saves=None, patient_runs=5)
    first = asked(engine, [7], patient=True, most=3)
    for n in range(30):
        asked(engine, [n, 8], patient=True, most=1)
    engine.run_until(first)
    assert names(decoder).count("prefill") <= 1 + 2 * 5


def test_without_slots_prompts_share_their_runs() -> None:
    engine, decoder = opened(replace(FACTS, continuous=False), copy_saves=None)
    tickets = [asked(engine, [n, *PROMPT]) for n in range(4)]
    for ticket in tickets:
        engine.run_until(ticket)
    assert names(decoder) == ["prefill"] * 4 + ["decode"] * 4
    assert all(slots == (0, 1, 2, 3) for _, slots in decoder.log)


def test_more_rows_than_fit_take_turns() -> None:
    facts = replace(FACTS, cache_slots=6, decode_rows=2)
    engine, _ = opened(facts, copy_saves=None, prefill_runs=100)
    tickets = [asked(engine, [n, 5, 6], most=30) for n in range(6)]
    for _ in range(6 + 3 * 4):
        engine.step()
    assert {len(ticket.tokens) for ticket in tickets} <= {4, 5}


def test_a_group_that_waits_for_slots_is_not_overtaken() -> None:
    engine, _ = opened()
    early = [asked(engine, [n], most=10 + n) for n in range(3)]
    group = engine.submit(Request(PROMPT, Fan(rows=4, most=3)))
    late = asked(engine, [99], most=1)
    while not group.done:
        assert engine.step()
        assert not late.done or group.done
        assert group.admitted is None or all(ticket.done for ticket in early)
    assert engine.run_until(late)


# ---------------------------------------------------------------------------------------------- what slots hold


def test_a_chats_next_turn_goes_on_where_the_last_one_ended() -> None:
    engine, decoder = opened()
    first = asked(engine)
    engine.run_until(first)
    turn = (*PROMPT, *first.tokens, 3, 4)
    second = asked(engine, turn)
    assert engine.run_until(second)[0].ids == tokens(turn)
    assert (second.reused, second.prefilled) == (28 + 4, 3)  # the last token of an answer was never run
    assert engine.counts().reused == 32


def test_the_last_token_of_a_prompt_is_always_run() -> None:
    engine, _ = opened()
    for _ in range(2):
        ticket = asked(engine)
        assert engine.run_until(ticket)[0].ids == tokens()
    assert ticket.reused == 27


def test_a_slot_that_cannot_be_rewound_is_used_whole_or_not() -> None:
    engine, decoder = opened(replace(FACTS, rewinds=False, cache_slots=1, decode_rows=1))
    engine.run_until(asked(engine))
    again = asked(engine)
    engine.run_until(again)
    assert again.reused == 0
    turn = asked(engine, (*PROMPT, *again.tokens, 1))
    engine.run_until(turn)
    assert turn.reused == 32
    assert not decoder.faults


def test_another_adapters_caches_are_never_used() -> None:
    engine, _ = opened()
    for space in (None, "one", "two", ("two", 1)):
        ticket = asked(engine, space=space)
        engine.run_until(ticket)
        assert ticket.reused == 0
    ticket = asked(engine, space="one")
    engine.run_until(ticket)
    assert ticket.reused == 27


def test_the_slot_used_least_recently_is_overwritten() -> None:
    engine, _ = opened()
    prompts = [(n, *PROMPT) for n in range(4)]
    for prompt in (*prompts, prompts[0], (77, *PROMPT)):  # the last takes the place of prompts[1]
        engine.run_until(asked(engine, prompt))
    reused = []
    for prompt in (prompts[0], prompts[2], prompts[3], (77, *PROMPT), prompts[1]):
        ticket = asked(engine, prompt)
        engine.run_until(ticket)
        reused.append(ticket.reused)
    assert reused == [28, 28, 28, 28, 0]


def test_a_slot_that_merely_begins_alike_is_not_the_one_to_overwrite() -> None:
    engine, _ = opened(copy_saves=None)
    long = (0, *range(20, 50))
    engine.run_until(asked(engine, long))
    engine.run_until(asked(engine, (0, *range(60, 90))))  # the same BOS
    again = asked(engine, long)
    engine.run_until(again)
    assert again.reused == 30


def test_samples_of_one_prompt_run_it_once_and_copy_it() -> None:
    engine, decoder = opened(copy_saves=8)
    tickets = [asked(engine) for _ in range(4)]
    for ticket in tickets:
        assert engine.run_until(ticket)[0].ids == tokens()
    assert engine.counts().prefilled == 28
    assert engine.counts().copies == 3


def test_a_shared_beginning_is_copied_and_stays_where_it_is() -> None:
    engine, _ = opened(copy_saves=8)
    first, second = (*PROMPT, *range(9)), (*PROMPT, *range(20, 29))
    for prompt in (first, second, first, second):
        ticket = asked(engine, prompt)
        assert engine.run_until(ticket)[0].ids == tokens(prompt)
    assert ticket.reused == 36
    assert engine.counts().copies == 1, "an answer's tail is cheaper than a copy"


def test_beams_are_copied_as_seldom_as_can_be() -> None:
    engine, decoder = opened()
    strategy = Fan(rows=4, most=8)
    engine.run_until(engine.submit(Request(PROMPT, strategy)))
    steps: list[NextTokens] = strategy.history[:-1]  # the last is not decoded
    assert names(decoder).count("copy") == sum(len(step.parents) - len(set(step.parents)) for step in steps) > 0


# ---------------------------------------------------------------------------------------------- failures


def test_after_a_failure_beams_go_on_with_the_same_tokens() -> None:
    for call in range(4, 20):
        engine, decoder = opened(failures={call: "device"})
        strategy = Fan(rows=4, most=6)
        answers = engine.run_until(engine.submit(Request(PROMPT, strategy)))
        assert answers == alone(Request(PROMPT, strategy), FACTS, Fan(rows=4, most=6)).answers
        assert not decoder.faults


def test_after_a_failure_everything_is_run_again_and_no_token_changes() -> None:
    engine, decoder = opened(failures={9: "device"}, copy_saves=None)
    prompts = [(n, *PROMPT) for n in range(3)]
    tickets = [asked(engine, prompt, most=12) for prompt in prompts]
    for prompt, ticket in zip(prompts, tickets, strict=True):
        assert engine.run_until(ticket)[0].ids == tokens(prompt, most=12)
    assert engine.counts().failures == 1
    assert [ticket.lost for ticket in tickets] == [1, 1, 0]  # the third had not begun
    assert not decoder.faults


def test_a_failure_too_many_is_the_requests_error() -> None:
    engine, decoder = opened(failures={5: "device", 6: "device"}, retries=1)
    ticket, later = asked(engine), asked(engine, [7])
    with pytest.raises(DeviceError, match="Injected"):
        engine.run_until(ticket)
    assert ticket.reason is None
    assert engine.run_until(asked(engine))[0].ids == tokens()
    assert later.done or engine.run_until(later)


def test_another_error_of_the_program_fails_those_it_ran_and_loses_all_slots() -> None:
    engine, decoder = opened(failures={4: "other"})
    first = asked(engine, PROMPT)
    while not first.tokens:
        engine.step()
    assert len(decoder.log) == 4
    second = asked(engine, [9, *PROMPT])
    with pytest.raises(OSError, match="Injected"):
        engine.run_until(first)
    assert engine.run_until(second)[0].ids == tokens([9, *PROMPT])


class Failing(Pick):
    def advance(self, logits: Any) -> NextTokens:
        raise ValueError("a strategy's own")


class Wrong(Pick):
    def advance(self, logits: Any) -> NextTokens:
        return NextTokens((0, 0), (1, 2))


def test_a_strategys_error_is_its_own_requests() -> None:
    engine, _ = opened()
    fine = asked(engine)
    for strategy, error in ((Failing(), ValueError), (Wrong(), UsageError)):
        with pytest.raises(error):
            engine.run_until(engine.submit(Request(PROMPT, strategy)))
    assert engine.run_until(fine)[0].ids == tokens()
    assert engine.counts().failed == 2


def test_nan_is_never_a_token() -> None:
    engine, decoder = opened()

    def nan(chunks: Any) -> Any:
        return np.full((len(chunks), 16), np.nan, np.float32)

    decoder.prefill = nan  # type: ignore[method-assign]
    with pytest.raises(NumericsError):
        engine.run_until(asked(engine))


# ---------------------------------------------------------------------------------------------- ends


def test_a_deadline_ends_with_what_is_written() -> None:
    now = [0.0]
    engine = Engine(HashDecoder(FACTS), clock=lambda: now[0])
    ticket, waiting = asked(engine, most=None, deadline=5.0), asked(engine, deadline=5.0)
    for _ in range(8):
        engine.step()
    now[0] = 5.1
    (answer,) = engine.run_until(ticket)
    assert (ticket.reason, ticket.expired, answer.reason) == ("cancelled", True, "cancelled")
    assert answer.ids == tuple(ticket.tokens) == tokens(most=None)[: len(answer.ids)] != ()
    assert waiting.done
    assert waiting.expired


def test_what_waits_can_be_cancelled() -> None:
    engine, _ = opened(replace(FACTS, cache_slots=1, decode_rows=1))
    first, second = asked(engine), asked(engine)
    engine.step()
    engine.cancel(second)
    assert (second.done, second.reason, second.answers[0].ids) == (True, "cancelled", ())
    assert engine.run_until(first)[0].ids == tokens()
    engine.cancel(first)
    assert first.reason == "length"


def test_counts_add_up() -> None:
    engine, _ = opened(copy_saves=None)
    tickets = [asked(engine, (n, *PROMPT)) for n in range(6)]
    assert engine.counts().waiting == 6
    for ticket in tickets:
        engine.run_until(ticket)
    counts = engine.counts()
    assert counts.prefilled + counts.reused + counts.decoded == 6 * (29 + 5 - 1)
    assert sum(ticket.prefilled for ticket in tickets) == counts.prefilled
    assert (counts.ended, counts.failed, counts.waiting, counts.running) == (6, 0, 0, 0)
    parts = counts.prefill_seconds + counts.decode_seconds + counts.copy_seconds + counts.choose_seconds
    assert 0 < parts < counts.step_seconds
