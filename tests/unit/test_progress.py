"""Progress bars where stderr is no terminal, nothing at all, closed, or what a program put in its place."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from QEfficient.progress import Stderr, is_terminal, is_watched, of_downloads, progress, progress_line


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        super().isatty()  # raises where it is closed
        return True


class Plain:
    """As people write it to catch what is printed: no isatty, no fileno, no encoding."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> None:
        self.text += text

    def flush(self) -> None:
        pass


class Broken(Terminal):
    """A terminal that went away."""

    def write(self, text: str) -> int:
        raise BrokenPipeError(32, "Broken pipe")

    def flush(self) -> None:
        raise BrokenPipeError(32, "Broken pipe")


class Odd(Plain):
    def isatty(self) -> bool:
        raise RuntimeError("not asked")


def closed() -> io.StringIO:
    stream = Terminal()
    stream.close()
    return stream


STREAMS: dict[str, tuple[Callable[[], Any], bool]] = {
    "none": (lambda: None, False),
    "closed": (closed, False),
    "plain": (Plain, False),
    "odd": (Odd, False),
    "a file": (io.StringIO, False),
    "a terminal": (Terminal, True),
    "a broken terminal": (Broken, True),
}


@pytest.mark.parametrize("name", STREAMS)
def test_work_is_done_whatever_stderr_is(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    make, watched = STREAMS[name]
    made = make()
    monkeypatch.setattr(sys, "stderr", made)
    assert is_terminal(made) is is_watched() is Stderr().isatty() is watched
    for total, wanted in ((None, None), (512, None), (3, True), (3, False)):
        with progress(total, wanted, "work", "text") as done:
            assert (done is not None) is (wanted if wanted is not None else watched)
            if done is not None:
                done(1)
                done(2)
    with progress_line("compiling") as draw:
        draw()
    if isinstance(made, Plain):
        assert "work: 100%" in made.text and "compiling" not in made.text
    if type(made) is Terminal and not made.closed:
        assert "work: 100%" in made.getvalue() and "compiling" in made.getvalue()


@pytest.mark.parametrize("name", STREAMS)
def test_bars_of_a_download(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As huggingface_hub makes them, which otherwise fail where stderr is None, or closed."""
    from huggingface_hub.utils.tqdm import tqdm

    monkeypatch.setattr(sys, "stderr", STREAMS[name][0]())
    bars = of_downloads()
    assert issubclass(bars, tqdm) and bars is of_downloads()  # each class starts a thread
    for disable in (None, False):
        with bars(total=10, desc="model.safetensors", unit="B", unit_scale=True, disable=disable, name="a.bar") as bar:
            bar.update(10)


def test_a_stream_that_is_closed_between(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with progress(2, None, "work", "text") as done:
        assert done is None  # too short to be worth a bar
    with progress(600, None, "work", "text") as done:
        assert done is not None
        terminal.close()
        done(600)


CHILD = """
import sys
from QEfficient.cli.main import main
main()
"""


@pytest.mark.parametrize(
    ("streams", "arguments", "code", "said"),
    [
        ("2>&-", "cache ls --json", 0, "[]\n"),
        ("2>&-", "verify ./nothing", 1, ""),
        (">&-", "cache ls", 0, ""),
        (">&- 2>&-", "cache ls", 0, ""),
        (">&- 2>&-", "verify ./nothing", 1, ""),
        (">&- 2>&-", "nothing", 2, ""),
    ],
)
def test_the_command_line_without_streams(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, streams: str, arguments: str, code: int, said: str
) -> None:
    monkeypatch.setenv("QEFF_HOME", str(tmp_path))
    command = f"exec {sys.executable} -c '{CHILD}' {arguments} {streams}"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=300, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (code, said, "")
