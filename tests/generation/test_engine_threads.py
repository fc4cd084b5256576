"""Who drives an engine: one thread or many, asyncio, one that is interrupted, a forked child."""

from __future__ import annotations

import asyncio
import os
import pickle
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import pytest

from QEfficient.errors import DeviceError, UsageError
from QEfficient.generation.engine import Engine
from QEfficient.generation.requests import Request
from QEfficient.generation.strategy import NextTokens
from tests.generation.hash_decoder import Fan, HashDecoder, Pick
from tests.generation.test_engine import FACTS, PROMPT, asked, opened, tokens


def in_threads(work: Sequence[Callable[[], object]]) -> None:
    """Runs functions side by side; the first error of one is raised."""
    errors: list[BaseException] = []

    def run(one: Callable[[], object]) -> None:
        try:
            one()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(one,)) for one in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    if errors:
        raise errors[0]


class Watched(HashDecoder):
    """Says so where two threads are in it."""

    inside = False

    def _called(self, *args: Any, **kwargs: Any) -> None:
        self._refuse(self.inside, "two threads")
        self.inside = True
        time.sleep(0)
        self.inside = False
        super()._called(*args, **kwargs)


def test_many_threads_wait_and_one_at_a_time_drives() -> None:
    decoder = Watched(FACTS)
    engine = Engine(decoder)

    def wait(n: int) -> None:
        for turn in range(5):
            prompt = (n, turn, *PROMPT)
            assert engine.run_until(asked(engine, prompt))[0].ids == tokens(prompt)

    in_threads([lambda n=n: wait(n) for n in range(12)])  # type: ignore[misc]
    assert not decoder.faults
    assert engine.counts().ended == 60


def test_a_stream_gives_tokens_as_they_come() -> None:
    engine, _ = opened()
    other = asked(engine, [5], most=2)
    ticket = asked(engine)
    seen = []
    for token in engine.stream(ticket):
        seen.append(token)
        assert len(ticket.tokens) == len(seen)
    assert tuple(seen) == tokens() == ticket.answers[0].ids
    assert other.done, "who streams drives all"


def test_a_stream_that_is_left_cancels_and_nothing_else_stops() -> None:
    engine, _ = opened()
    ticket, other = asked(engine, most=None), asked(engine, [1, 2])
    stream = engine.stream(ticket)
    assert next(stream) == tokens()[0]
    stream.close()  # type: ignore[attr-defined]
    assert (ticket.done, ticket.reason) == (True, "cancelled")
    assert engine.run_until(other)[0].ids == tokens([1, 2])


def test_streams_of_several_rows_give_nothing_before_the_end() -> None:
    engine, _ = opened()
    ticket = engine.submit(Request(PROMPT, Fan(rows=3, most=3)))
    assert list(engine.stream(ticket)) == []
    assert len(ticket.answers) > 1


@pytest.mark.parametrize("call", range(8))
def test_an_interrupt_in_a_run_cancels_who_waited_and_others_go_on(call: int) -> None:
    engine, decoder = opened(failures={call: "interrupt"}, copy_saves=8)
    mine, other = asked(engine, most=10), asked(engine, (*PROMPT, 4))
    with pytest.raises(KeyboardInterrupt):
        engine.run_until(mine)
    assert (mine.done, mine.reason) == (True, "cancelled")
    assert tuple(mine.tokens) == tokens(most=10)[: len(mine.tokens)]
    assert engine.run_until(other)[0].ids == tokens((*PROMPT, 4))
    assert not decoder.faults


class Interrupted(Pick):
    def advance(self, logits: Any) -> NextTokens:
        if len(self.history) == 2:
            raise KeyboardInterrupt
        return super().advance(logits)


def test_an_interrupt_while_a_token_is_chosen() -> None:
    engine, _ = opened()
    mine, other = engine.submit(Request(PROMPT, Interrupted())), asked(engine, [1, 2])
    with pytest.raises(KeyboardInterrupt):
        engine.run_until(mine)
    assert (mine.reason, mine.tokens) == ("cancelled", list(tokens()[:2]))
    assert engine.run_until(other)[0].ids == tokens([1, 2])


def test_an_interrupt_while_anothers_token_is_chosen_fails_that_one() -> None:
    engine, _ = opened()
    other, mine = engine.submit(Request(PROMPT, Interrupted())), asked(engine, most=None)
    with pytest.raises(KeyboardInterrupt):
        engine.run_until(mine)
    assert mine.reason == "cancelled"
    with pytest.raises(DeviceError, match="interrupt"):
        engine.run_until(other)


def slowed(decoder: HashDecoder, seconds: float) -> threading.Event:
    """Each run takes so long from now on; set when one begins."""
    begun = threading.Event()
    called = decoder._called

    def slow(*args: Any, **kwargs: Any) -> None:
        begun.set()
        time.sleep(seconds)
        called(*args, **kwargs)

    decoder._called = slow  # type: ignore[method-assign]
    return begun


def test_a_cancel_from_another_thread_ends_a_wait() -> None:
    engine, decoder = opened()
    running = asked(engine, most=None)
    begun = slowed(decoder, 0.01)

    def cancel() -> None:
        begun.wait(10)
        engine.cancel(running)

    in_threads([lambda: engine.run_until(running), cancel])
    assert running.reason == "cancelled"


@pytest.mark.parametrize("act", ["step", "close"])
def test_a_step_or_a_close_goes_between_the_steps_of_another_thread(act: str) -> None:
    engine, decoder = opened(replace(FACTS, ctx_len=2000))
    begun = slowed(decoder, 0.002)
    ticket = asked(engine, most=None)

    def meanwhile() -> None:
        begun.wait(10)
        getattr(engine, act)()
        assert len(ticket.tokens) < 1000, "it waited for the whole request"
        engine.cancel(ticket)

    in_threads([lambda: engine.run_until(ticket), meanwhile])
    assert ticket.reason == "cancelled"


def test_async_streams_side_by_side() -> None:
    engine, _ = opened()

    async def stream(n: int) -> tuple[int, ...]:
        return tuple([token async for token in engine.astream(asked(engine, (n, *PROMPT)))])

    async def both() -> list[Any]:
        group = engine.submit(Request(PROMPT, Fan(rows=2, most=3)))
        return await asyncio.gather(engine.arun_until(group), *(stream(n) for n in range(30)))

    group, *streams = asyncio.run(both())
    assert group
    assert streams == [tokens((n, *PROMPT)) for n in range(30)]


def test_an_async_stream_that_is_left_cancels() -> None:
    engine, _ = opened()
    ticket = asked(engine, most=None)

    async def first() -> int:
        async with aclosing(engine.astream(ticket)) as stream:  # type: ignore[type-var]
            async for token in stream:
                return token
        raise AssertionError

    assert asyncio.run(first()) == tokens()[0]
    assert (ticket.done, ticket.reason) == (True, "cancelled")


def test_a_task_that_is_cancelled_cancels_its_request() -> None:
    engine, _ = opened()
    ticket = asked(engine, most=None)

    async def give_up() -> None:
        task = asyncio.create_task(engine.arun_until(ticket))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(give_up())
    engine.step()
    assert ticket.reason in ("cancelled", "length")


def test_a_server_thread_waits_for_work() -> None:
    engine, _ = opened()
    stop = threading.Event()

    def serve() -> None:
        while not stop.is_set():
            if engine.wait_for_work(0.05):
                engine.step()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        for n in range(5):
            assert engine.run_until(asked(engine, (n, *PROMPT)))[0].ids == tokens((n, *PROMPT))
    finally:
        stop.set()
        thread.join(10)


def test_a_closed_engine_has_ended_all_and_takes_none() -> None:
    engine, decoder = opened()
    with engine:
        tickets = [asked(engine, [n]) for n in range(9)]
        engine.step()
    engine.close()
    assert {ticket.reason for ticket in tickets} == {"cancelled"}
    assert engine.run_until(tickets[0])[0].reason == "cancelled"
    assert decoder.closed
    for call in (lambda: asked(engine), engine.step, lambda: engine.wait_for_work(0)):
        with pytest.raises(UsageError, match="closed"):
            call()


def test_a_request_of_another_engine_is_refused() -> None:
    engine, other = opened()[0], opened()[0]
    with pytest.raises(UsageError, match="not one of this engine's"):
        engine.run_until(asked(other))


def test_an_engine_is_not_pickled() -> None:
    with pytest.raises(UsageError):
        pickle.dumps(opened()[0])


def test_a_forked_child_is_refused() -> None:
    engine, decoder = opened()
    ticket = asked(engine)
    engine.step()
    child = os.fork()
    if child == 0:
        refused = 0
        for call in (lambda: asked(engine), engine.step, lambda: engine.run_until(ticket)):
            try:
                call()
            except UsageError:
                refused += 1
        engine.cancel(ticket)
        engine.close()
        os._exit(refused if not decoder.closed else 9)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
    assert engine.run_until(ticket)[0].ids == tokens()
