"""Torch's work sees nothing of what its caller set, leaves it as it was, and no signal falls into what is shielded."""

import asyncio
import gc
import os
import signal
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from QEfficient.errors import ExportError
from QEfficient.export.exporter import traced
from QEfficient.export.isolated import isolated
from QEfficient.export.process_wide import ProcessWide
from QEfficient.export.work_thread import shielded
from QEfficient.records import TensorSpec
from tests.torch_states import STATES, settings_of


@pytest.fixture(autouse=True)
def sigint() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def interrupt(number: int = signal.SIGINT) -> None:
    """A signal to this process, and time for its handler, which runs in the main thread."""
    os.kill(os.getpid(), number)
    time.sleep(0.05)


# ---------------------------------------------------------------------------------------------- torch's state


def seen() -> tuple[Any, ...]:
    """All that a graph or a number may depend on, as torch's code meets it."""
    ones = torch.ones(2, 2)
    product = ones @ ones
    modes = torch._C._len_torch_function_stack(), torch._C._len_torch_dispatch_stack()
    hooked = nn.Identity()(ones)
    more = (
        product.dtype,
        str(ones.device),
        ones.is_inference(),
        product.requires_grad,
        type(product),
        hooked.sum().item(),
    )
    autocast = torch.is_autocast_enabled("cpu"), torch.is_autocast_enabled("cuda")
    level = torch._C._functorch.peek_interpreter_stack() is None
    grads = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
    precision = torch.backends.mkldnn.matmul.fp32_precision in ("none", "ieee")
    determinism = torch.are_deterministic_algorithms_enabled(), torch.is_anomaly_enabled()
    sdp = torch.backends.cuda.flash_sdp_enabled(), torch.backends.cuda.math_sdp_enabled()
    return (*more, *modes, *autocast, level, *grads, precision, *determinism, *sdp)


@pytest.fixture(scope="module")
def plain() -> tuple[Any, ...]:
    return isolated(seen)()


@settings(max_examples=60, deadline=None, derandomize=True)
@given(names=st.lists(st.sampled_from(sorted(STATES)), unique=True, max_size=6))
def test_no_combination_of_states_reaches_the_work_or_is_changed_by_it(
    names: list[str], plain: tuple[Any, ...]
) -> None:
    outside = settings_of()
    with ExitStack() as stack:
        for name in names:
            stack.enter_context(STATES[name]())
        before = settings_of()
        assert isolated(seen)() == plain
        assert settings_of() == before
    assert settings_of() == outside


@pytest.mark.parametrize("name", sorted(set(STATES) - {"gradients on", "seeds", "threads", "warnings"}))
def test_each_state_would_reach_it_otherwise(name: str, plain: tuple[Any, ...]) -> None:
    """Else the property above would say nothing of that state."""
    with STATES[name]():
        try:
            found: object = seen()
        except Exception as error:
            found = error
    assert found != plain


def test_the_count_of_threads_is_the_callers() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        assert isolated(torch.get_num_threads)() == 1
    finally:
        torch.set_num_threads(before)


def test_what_somebody_else_sets_meanwhile_stays() -> None:
    def work() -> None:
        torch.set_default_dtype(torch.float64)

    torch.set_default_dtype(torch.bfloat16)
    try:
        isolated(work)()
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)


def test_two_at_once_leave_the_state_as_the_first_found_it() -> None:
    both = threading.Barrier(2, timeout=30)

    def work(last: bool) -> torch.dtype:
        both.wait()
        if last:
            time.sleep(0.05)
        return torch.ones(1).dtype

    torch.set_default_dtype(torch.float64)
    try:
        thread = threading.Thread(target=isolated(work), args=(True,))
        thread.start()
        assert isolated(work)(False) == torch.float32
        thread.join()
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)


def test_a_change_whose_making_fails_is_not_made() -> None:
    made: list[str] = []

    @contextmanager
    def change() -> Iterator[None]:
        if not made:
            made.append("failed")
            raise OSError
        made.append("in")
        yield
        made.append("out")

    process_wide = ProcessWide(change)
    with suppress(OSError), process_wide():
        raise AssertionError
    with process_wide(), process_wide():
        assert made == ["failed", "in"]
    assert made == ["failed", "in", "out"]


def test_it_runs_in_a_thread_of_its_own_and_a_call_from_there_is_a_plain_call() -> None:
    inner = isolated(threading.get_ident)
    mine, own = isolated(lambda: (inner(), threading.get_ident()))()
    assert mine == own != threading.get_ident()


def test_an_error_comes_to_the_caller_with_its_traceback() -> None:
    def fails(text: str) -> None:
        raise LookupError(text)

    with pytest.raises(LookupError, match="nothing") as found:
        isolated(fails)("nothing")
    assert found.traceback[-1].name == "fails"


@pytest.mark.parametrize("fails", [False, True])
def test_nothing_is_kept_alive(fails: bool) -> None:
    class Weight:
        pass

    def use(weight: Weight) -> Weight:
        if fails:
            raise LookupError
        return weight

    gc.disable()
    try:
        weight = Weight()
        found = weakref.ref(weight)
        with suppress(LookupError):
            isolated(use)(weight)
        del weight
        assert found() is None
    finally:
        gc.enable()


# ---------------------------------------------------------------------------------------------- signals


def test_ctrl_c_ends_the_work() -> None:
    over: list[str] = []

    def work() -> None:
        try:
            interrupt()
            for _ in range(1000):
                time.sleep(0.01)
            over.append("came to its end")
        finally:
            over.append("cleaned up")

    with pytest.raises(KeyboardInterrupt):
        isolated(work)()
    assert over == ["cleaned up"]


def test_the_first_one_waits_for_what_is_shielded(caplog: pytest.LogCaptureFixture) -> None:
    over: list[str] = []

    def work() -> None:
        with shielded("the test"):
            interrupt()
            time.sleep(0.7)  # longer than a wait of the caller's
            over.append("whole")
        over.append("went on")

    with pytest.raises(KeyboardInterrupt):
        isolated(work)()
    assert over == ["whole"]
    assert caplog.messages == ["stopping once the test is over; another Ctrl-C stops at once"]


def test_the_second_one_does_not() -> None:
    over: list[str] = []

    def work() -> None:
        with shielded("the test"):
            interrupt()
            interrupt()
            for _ in range(1000):
                time.sleep(0.01)
            over.append("whole")

    with pytest.raises(KeyboardInterrupt):
        isolated(work)()
    assert over == []


def test_it_wins_over_an_error_of_the_work() -> None:
    def work() -> None:
        with shielded("the test"):
            interrupt()
            raise LookupError

    with pytest.raises(KeyboardInterrupt):
        isolated(work)()


def test_within_and_without_one_another() -> None:
    over: list[str] = []

    @isolated
    def inner() -> None:
        with shielded("the inner one"):
            interrupt()
            over.append("inner")

    @isolated
    def outer() -> None:
        inner()
        over.append("outer")

    with pytest.raises(KeyboardInterrupt):
        outer()
    assert over == ["inner"]


class Stop(Exception):
    """What a service's own handler raises."""


def stops(number: int, frame: object) -> None:
    raise Stop


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGALRM])
def test_what_the_callers_own_handler_raises_is_raised(number: int) -> None:
    before = signal.signal(number, stops)
    over: list[str] = []

    def work() -> None:
        with shielded("the test"):
            interrupt(number)
            over.append("whole")
        over.append("went on")

    try:
        with pytest.raises(Stop):
            isolated(work)()
        assert signal.getsignal(number) is stops
    finally:
        signal.signal(number, before)
    assert over == ["whole"]


def notes(seen: list[int]) -> Callable[[int, object], None]:
    return lambda number, frame: seen.append(number)


def test_a_handler_that_raises_nothing_runs_at_once_and_the_work_goes_on() -> None:
    found: list[int] = []
    handler = notes(found)
    signal.signal(signal.SIGINT, handler)

    def work() -> list[int]:
        with shielded("the test"):
            interrupt()
            for _ in range(1000):
                if found:
                    break
                time.sleep(0.01)
            return list(found)

    assert isolated(work)() == [signal.SIGINT]
    assert signal.getsignal(signal.SIGINT) is handler


def test_an_ignored_signal_is_ignored() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    isolated(interrupt)()
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_a_loop_of_asyncio_gets_its_signal() -> None:
    async def main() -> tuple[str, bool]:
        loop, came = asyncio.get_running_loop(), asyncio.Event()
        loop.add_signal_handler(signal.SIGINT, came.set)
        try:
            found = isolated(lambda: interrupt() or "whole")()
            await asyncio.wait_for(came.wait(), 30)
        finally:
            loop.remove_signal_handler(signal.SIGINT)
        return found, came.is_set()

    assert asyncio.run(main()) == ("whole", True)


def test_called_from_another_thread_no_signal_reaches_it() -> None:
    found: list[str] = []
    thread = threading.Thread(target=lambda: found.append(isolated(lambda: interrupt() or "whole")()))
    with pytest.raises(KeyboardInterrupt):
        thread.start()
        for _ in range(1000):
            time.sleep(0.01)
    thread.join()
    assert found == ["whole"]


def test_where_no_thread_can_be_started_the_reason_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    with pytest.raises(RuntimeError, match="can't start"):
        isolated(seen)()


# ---------------------------------------------------------------------------------------------- an export


class Interrupted(nn.Module):
    """Ctrl-C is pressed while its forward is traced."""

    def __init__(self, traces: list[str], *, fails: bool) -> None:
        super().__init__()
        self.note, self.fails = traces.append, fails  # torch.export puts a module's own lists back

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        interrupt()
        self.note("traced")
        if self.fails:
            raise LookupError("of the model's own")
        return input_ids.float().mean(-1, keepdim=True)


@pytest.mark.parametrize("fails", [False, True])
def test_a_trace_is_finished_first(fails: bool, caplog: pytest.LogCaptureFixture) -> None:
    traces: list[str] = []
    module, spec = Interrupted(traces, fails=fails), TensorSpec("input_ids", "int64", ("batch_size", "seq_len"))
    try:
        with pytest.raises(KeyboardInterrupt), traced(module, inputs=[spec]):
            raise AssertionError
    except ExportError as error:
        raise AssertionError from error
    assert traces == ["traced"]
    assert "torch's tracing" in caplog.text
