"""Python's search for cyclic garbage is as it was, whoever paused it and however that ended."""

import gc
import threading

import pytest

from QEfficient.build.gc_paused import not_collected


def test_paused_and_on_again() -> None:
    assert gc.isenabled()
    with pytest.raises(KeyboardInterrupt), not_collected():
        assert not gc.isenabled()
        raise KeyboardInterrupt
    assert gc.isenabled()


def test_it_stays_off_for_a_caller_who_turned_it_off() -> None:
    gc.disable()
    try:
        with not_collected():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_the_last_of_several_threads_turns_it_on() -> None:
    entered, leave = threading.Event(), threading.Event()

    def other() -> None:
        with not_collected():
            entered.set()
            leave.wait(30)

    thread = threading.Thread(target=other)
    with not_collected():
        thread.start()
        assert entered.wait(30)
    assert not gc.isenabled()
    leave.set()
    thread.join()
    assert gc.isenabled()
