"""What the library says of its keywords, in the words of a command: ``output_dir`` is ``--output`` there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer

from QEfficient.errors import QEfficientError

_OPTIONS = {
    "output_dir": "--output",
    "resume": "--resume",
    "eval": "--eval",
    "epochs": "--epochs",
    "batch_size": "--batch-size",
    "learning_rate": "--learning-rate",
    "seed": "--seed",
    "lora": "--lora",
    "layers": "--layers",
    "student": "--student",
    "task": "--task",
}
"""Keyword → the option by which a command takes it."""


def reworded(text: str) -> str:
    """A message with options in place of keywords. One that is an English word too is a keyword before a ``=`` only.

    >>> reworded("choose another output_dir, or pass resume=True")
    'choose another --output, or pass --resume'
    >>> reworded("batch_size=0 leaves no layers")
    '--batch-size 0 leaves no layers'
    """

    def option(found: re.Match[str]) -> str:
        name, value = found["name"], found["value"]
        if value is None:
            return _OPTIONS[name] if "_" in name else name
        return _OPTIONS[name] + ("" if value == "=True" else " ")

    names = "|".join(_OPTIONS)
    return re.sub(rf"(?<![\w.-])(?P<name>{names})\b(?P<value>=True\b|=)?", option, text)


@contextmanager
def in_options(checkpoints: Path) -> Iterator[None]:
    """While it is entered, errors speak of options, and a Ctrl-C says how the command goes on.

    Args:
        checkpoints: The folder of the run.
    """
    from QEfficient.train.folder import last_checkpoint

    try:
        yield
    except QEfficientError as error:
        error.what = reworded(error.what)
        for name in ("got", "allowed", "do"):
            if isinstance(told := getattr(error, name), str):
                setattr(error, name, reworded(told))
        raise
    except KeyboardInterrupt:
        if last_checkpoint(checkpoints) is not None:
            typer.echo("The same command with --resume goes on from there.", err=True)
        raise
