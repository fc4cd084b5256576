"""The entry point of ``qefficient``."""

from __future__ import annotations

import os
import sys

import typer

from QEfficient.cli import analyze, cache, verify
from QEfficient.errors import QEfficientError

app = typer.Typer(
    name="qefficient",
    help="Compile and run HuggingFace models on Qualcomm Cloud AI 100, and on the host.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(analyze.analyze)
app.command()(verify.verify)
app.add_typer(cache.app, name="cache")


def main() -> None:
    """Runs the command line. Exit codes: 0 all is well, 1 a problem was found, 2 the command was given wrongly."""
    try:
        try:
            app()
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()  # now, so that a full disk is met where it can be said
    except QEfficientError as error:
        _say(f"error: {error}")
        sys.exit(1)
    except OSError as error:
        if error.filename is not None:  # of another file
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the interpreter flushes again when it ends
        _say(f"error: The output can't be written: {error.strerror or error}")
        sys.exit(1)


def _say(text: str) -> None:
    """Prints to stderr, where there is one: print would take stdout, where somebody may expect JSON."""
    if sys.stderr is not None:
        print(text, file=sys.stderr)
