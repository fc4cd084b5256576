"""Progress bars. Whatever stderr is, a terminal, nothing at all, a closed file, no work fails for its bar."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import cache
from typing import Any

from QEfficient import settings

LONG_WORK = 512  # texts from which a progress bar is worth its lines


def is_terminal(stream: Any) -> bool:
    """Whether a person sees what is written there. Services have ``None`` for a stream, or one that is closed."""
    try:
        return bool(stream.isatty())
    except Exception:  # a program may put anything in a stream's place
        return False


def is_watched() -> bool:
    """Whether a person sees stderr: a terminal, or a notebook whose kernel this process is."""
    ipython: Any = sys.modules.get("IPython")
    return is_terminal(sys.stderr) or hasattr(ipython and ipython.get_ipython(), "kernel")


class Stderr:
    """stderr as a bar may use it: what can't be written there is left out."""

    def __init__(self) -> None:
        self._stream: Any = sys.stderr

    def write(self, text: str) -> None:
        """Writes, if that can be done."""
        with suppress(Exception):
            self._stream.write(text)

    def flush(self) -> None:
        """Flushes, if that can be done."""
        with suppress(Exception):
            self._stream.flush()

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return is_terminal(self._stream)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@cache  # each class of tqdm's has a thread
def of_downloads() -> type[Any]:
    """The class of huggingface_hub's bars, writing to :class:`Stderr`; its own fail where there is none."""
    from huggingface_hub.utils.tqdm import tqdm

    class Bar(tqdm):
        def __init__(self, *args: Any, **keywords: Any) -> None:
            super().__init__(*args, **{"file": Stderr(), **keywords})  # type: ignore[no-untyped-call]

    return Bar


def progress(
    total: int | None, wanted: bool | None, what: str, unit: str
) -> AbstractContextManager[Callable[[int], None] | None]:
    """A progress bar on long work, to a terminal or notebook only; gives what counts finished rows.

    ``total=None`` is long work of which nobody knows how long.
    """
    visible = wanted if wanted is not None else (total is None or total >= LONG_WORK) and is_watched()
    return _bar(total, what, unit) if visible and settings.progress_bars() else nullcontext()


@contextmanager
def _bar(total: int | None, what: str, unit: str) -> Iterator[Callable[[int], None]]:
    from tqdm.auto import tqdm

    with tqdm(total=total, desc=what, unit=unit, file=Stderr()) as bar:
        yield bar.update


def tell(line: str) -> None:
    """One line, to a terminal or notebook only: what a person who waits may want to know."""
    if is_watched() and settings.progress_bars():
        Stderr().write(f"{line}\n")


@contextmanager
def progress_line(title: str) -> Iterator[Callable[[], object]]:
    """``title`` with the time that passed, drawn to a terminal only; gives what draws it again."""
    from tqdm.auto import tqdm

    hidden = not (settings.progress_bars() and is_terminal(sys.stderr))
    with tqdm(desc=title, bar_format="{desc} [{elapsed}]", disable=hidden, leave=False, file=Stderr()) as line:
        yield line.refresh
