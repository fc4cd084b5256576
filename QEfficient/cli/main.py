"""The entry point of ``qefficient``."""

from __future__ import annotations

import contextlib
import os
import sys

import typer

from QEfficient.cli import (
    analyze,
    cache,
    chat,
    compare,
    distill,
    evaluate,
    finetune,
    generate,
    prune,
    prune_vocabulary,
    quantize,
    translate,
    verify,
)
from QEfficient.errors import QEfficientError

app = typer.Typer(
    name="qefficient",
    help="Compile and run HuggingFace models on Qualcomm Cloud AI 100, and on the host.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(generate.generate)
app.command()(chat.chat)
app.command()(translate.translate)
app.command()(translate.summarize)
app.command()(analyze.analyze)
app.command()(verify.verify)
app.command()(evaluate.evaluate)
app.command()(compare.compare)
app.command()(finetune.finetune)
app.command()(distill.distill)
app.command()(prune.prune)
app.command()(quantize.quantize)
app.command()(prune_vocabulary.prune_vocabulary)
app.add_typer(cache.app, name="cache")


def main() -> None:
    """Runs the command line. Exit codes: 0 all is well, 1 a problem was found, 2 the command was given wrongly."""
    try:
        try:
            app()
        finally:
            _flush()
    except QEfficientError as error:
        _say(f"error: {error}")
        sys.exit(1)


def _flush() -> None:
    """Writes out what was printed, now, so that a full disk is met where it can be said."""
    if sys.stdout is None:
        return
    try:
        sys.stdout.flush()
    except OSError as error:
        with contextlib.suppress(OSError):  # a stream without a descriptor has nothing to flush later
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the interpreter flushes again at its end
        if not isinstance(error, BrokenPipeError):  # whoever read had enough
            _say(f"error: The output can't be written: {error.strerror or error}")
            sys.exit(1)


def _say(text: str) -> None:
    """Prints to stderr, where there is one: print would take stdout, where somebody may expect JSON."""
    if sys.stderr is not None:
        print(text, file=sys.stderr)
