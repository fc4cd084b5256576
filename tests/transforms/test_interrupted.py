"""An interruption at any line of our work leaves the process as it was: torch's state, the search for garbage."""

import gc
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any

import pytest
import torch

from QEfficient.build.gc_paused import not_collected
from QEfficient.export import work_thread as module
from QEfficient.export.global_state import default_state
from QEfficient.export.isolated import isolated
from QEfficient.export.work_thread import held
from tests.torch_states import STATES, settings_of

OURS = (
    *("work_thread.py", "process_wide.py", "global_state.py", "gc_paused.py", "contextlib.py"),
    "test_interrupted.py",
)


class Interrupter:
    """Does in the work's thread, before its nth line, what the caller's thread does when a Ctrl-C comes up there.

    Where the lock is taken the caller's thread would wait, so the line behind counts.
    """

    def __init__(self, line: int) -> None:
        self.left, self.passed, self.works = line, 0, list[Any]()
        self.came = ""

    def __call__(self, frame: FrameType, event: str, arg: object) -> Any:
        if not frame.f_code.co_filename.endswith(OURS) or frame.f_code.co_name in ("_interrupt", "_raise_in"):
            return None
        if "self" in frame.f_locals and isinstance(frame.f_locals["self"], module.WorkThread):
            self.works = [frame.f_locals["self"]]
        if event == "line" and self.works and self.works[0]._claim.locked() and not self.works[0]._lock.locked():
            self.passed += 1
            if not self.came and self.passed >= self.left:
                self.came = f"{frame.f_code.co_filename}:{frame.f_lineno}"
                self.works[0]._interrupt(at_once=True)
        return self


def at_each_line(work: Callable[[], object], after: Callable[[], object]) -> list[str]:
    """Interrupts ``work`` once, at each of its lines in turn; the lines. ``after`` tells what must be left alike."""
    before, places = after(), list[str]()
    while True:
        interrupter = Interrupter(len(places) + 1)
        threading.settrace(interrupter)
        try:
            with suppress(KeyboardInterrupt):  # or nothing, where it came up behind the call
                isolated(work)()
        finally:
            threading.settrace(None)  # type: ignore[arg-type]
        interrupter.works.clear()
        if not interrupter.came:
            return places
        places.append(interrupter.came)
        assert after() == before, interrupter.came


def inside() -> tuple[Any, ...]:
    return len(default_state._inside), default_state._made, default_state._lock.locked(), gc.isenabled()


def test_torchs_state() -> None:
    hooks: Any = torch.nn.modules.module

    def state() -> tuple[Any, ...]:
        return torch.get_default_dtype(), dict(hooks._global_forward_hooks), inside()

    with STATES["float64"](), STATES["hooks"]():
        outside = settings_of()
        places = at_each_line(lambda: torch.ones(1), state)
        assert settings_of() == outside
    assert {name for name in OURS if any(f"/{name}:" in place for place in places)} == {*OURS} - {"gc_paused.py"}


def collects() -> None:
    with not_collected():
        assert not gc.isenabled()


def test_the_search_for_garbage() -> None:
    places = at_each_line(collects, inside)
    assert any("/gc_paused.py:" in place for place in places)


def test_what_is_held_is_finished_whatever_comes() -> None:
    over: list[str] = []

    def work() -> None:
        mine = module.HERE.get()
        assert mine is not None
        with held():
            for _ in range(3):
                with held():
                    mine._interrupt(at_once=True)
                over.append("whole")
        over.append("went on")

    with pytest.raises(KeyboardInterrupt):
        isolated(work)()
    assert over == ["whole"] * 3


def test_one_that_comes_before_the_call_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    over: list[str] = []
    call = module.WorkThread._call

    def late(work: Any) -> Any:
        work._interrupt(at_once=False)
        return call(work)

    monkeypatch.setattr(module.WorkThread, "_call", late)
    with pytest.raises(KeyboardInterrupt):
        isolated(lambda: over.append("done"))()
    assert over == []


def test_one_that_comes_while_the_work_starts_a_thread_comes_behind_that(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, start, ran = threading.Event(), threading.Thread._bootstrap, list[str]()  # type: ignore[attr-defined]

    def late(thread: threading.Thread) -> None:
        if thread.name == "inner":  # its starter waits in Thread.start
            begun.wait()
            time.sleep(0.2)
        start(thread)

    def ctrl_c() -> None:
        begun.set()
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    def work() -> None:
        threading.Timer(0.05, ctrl_c).start()
        inner = threading.Thread(target=lambda: ran.append("inner"), name="inner")
        inner.start()
        ran.append("started")
        while True:
            time.sleep(0.001)

    monkeypatch.setattr(threading.Thread, "_bootstrap", late)
    with pytest.raises(KeyboardInterrupt):
        isolated(work)()
    assert sorted(ran) == ["inner", "started"]
