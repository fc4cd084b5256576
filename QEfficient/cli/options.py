"""What the library says of its keywords, in the words of a command: ``output_dir`` is ``--output`` there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from QEfficient.errors import QEfficientError

MaxDrop = Annotated[
    list[str] | None,
    typer.Option("--max-drop", help="METRIC=NUMBER: by how much it may get worse, such as accuracy=0.01."),
]
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
    "max_drop": "--max-drop",
    "texts": "--texts",
    "share": "--share",
    "min_count": "--min-count",
    "max_lost": "--max-lost",
    "size": "--size",
    "keep": "--keep",
    "heads": "--heads",
    "feed_forward": "--feed-forward",
    "max_new_tokens": "--max-new-tokens",
    "temperature": "--temperature",
    "top_k": "--top-k",
    "top_p": "--top-p",
    "min_p": "--min-p",
    "repetition_penalty": "--repetition-penalty",
    "stop_strings": "--stop",
    "json_schema": "--json-schema",
    "ctx_len": "--ctx-len",
    "encoder_ctx_len": "--encoder-ctx-len",
    "num_beams": "--num-beams",
}
"""Keyword → the option by which a command takes it."""


def reworded(text: str) -> str:
    """A message with options in place of keywords. One that is an English word too is a keyword before a ``=`` only.

    >>> reworded("choose another output_dir, or pass resume=True")
    'choose another --output, or pass --resume'
    >>> reworded("batch_size=0 leaves no layers")
    '--batch-size 0 leaves no layers'
    >>> reworded("pass overlong='split'")
    'pass --split'
    """

    def option(found: re.Match[str]) -> str:
        name, value = found["name"], found["value"]
        if value is None:
            return _OPTIONS[name] if "_" in name else name
        return _OPTIONS[name] + ("" if value == "=True" else " ")

    names = "|".join(_OPTIONS)
    flagged = text.replace("overlong='split'", "--split")  # the one value that is an option itself
    return re.sub(rf"(?<![\w.-])(?P<name>{names})\b(?P<value>=True\b|=)?", option, flagged)


def max_drop(given: list[str] | None) -> dict[str, float] | None:
    """``["accuracy=0.01"]`` → ``{"accuracy": 0.01}``."""
    found: dict[str, float] = {}
    for one in given or ():
        name, _, number = one.partition("=")
        try:
            found[name] = float(number)
        except ValueError:
            wrong = f"{one!r} is not METRIC=NUMBER: accuracy=0.01"
            raise typer.BadParameter(wrong, param_hint="--max-drop") from None
    return found or None


@contextmanager
def said_in_options() -> Iterator[None]:
    """While it is entered, errors speak of options."""
    try:
        yield
    except QEfficientError as error:
        error.what = reworded(error.what)
        for name in ("got", "allowed", "do"):
            if isinstance(told := getattr(error, name), str):
                setattr(error, name, reworded(told))
        raise


@contextmanager
def in_options(checkpoints: Path) -> Iterator[None]:
    """As :func:`said_in_options`; and a Ctrl-C says how the command goes on.

    Args:
        checkpoints: The folder of the run.
    """
    from QEfficient.train.folder import last_checkpoint

    try:
        with said_in_options():
            yield
    except KeyboardInterrupt:
        if last_checkpoint(checkpoints) is not None:
            typer.echo("The same command with --resume goes on from there.", err=True)
        raise
