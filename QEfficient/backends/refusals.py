"""What backends refuse with, where more than one of them does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from QEfficient.backends.host import NARROW
from QEfficient.backends.threads import leave
from QEfficient.errors import CorruptArtefactError, DeviceError, InputError, OptionError, unknown


def other_precision(backend: str, wanted: str, known: Sequence[str]) -> OptionError:
    """The error of a precision that a backend does not compute in."""
    what = f"The backend {backend!r} does not compute in this precision."
    do = "choose one, or leave compute out" if len(known) > 1 else "leave compute out, or compile for another backend"
    if wanted in NARROW and "fp16" in known:  # a card's, or its emulation
        do = "pass mxfp6_matmul=True, which stores weights in 6 bits on the card, or compile for the host"
    return unknown(OptionError, what, wanted, known, argument="compute", do=do)


def no_file(option: str, path: Path) -> OptionError:
    """The error of an option whose file is not there, or not any more."""
    what = f"The file of the option {option!r} does not exist."
    return OptionError(what, got=str(path), allowed="the path of a file that exists", do="correct the path")


def refused(runtime: str, what: str, error: Exception) -> DeviceError:
    """The error of a runtime, named with its version, that does not load, compile or run a program."""
    return DeviceError(
        f"{runtime} can't {what} the program.",
        status=str(error),
        allowed=f"a graph that {runtime} computes",
        do="compile the model again, or for another backend",
    )


def corrupt_graph(graph: Path, error: Exception) -> CorruptArtefactError:
    """The error of a graph that is not as it was compiled."""
    return CorruptArtefactError(
        f"The graph {graph.name} or its external data can't be used.",
        got=str(error),
        allowed="the files as they were compiled, all inside the program's folder",
        do="compile the model again, or copy the program's folder again",
    )


def no_row(got: str) -> InputError:
    """The error of an id that a table has no row for."""
    return InputError(
        "An id is outside of the model's table.",
        got=got,
        allowed="ids that every table of the model has a row for",
        do="pass smaller ids; tokens that were added to a tokenizer have none without new rows",
    )


def closed() -> DeviceError:
    """The error of a session that was closed.

    Raises:
        SystemExit: It was closed because the interpreter ends, and this is a daemon thread.
    """
    leave()
    return DeviceError(
        "The session is closed.", got="a run after close()", allowed="an open session", do="open the program again"
    )
