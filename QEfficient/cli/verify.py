"""``qefficient verify``: a model compiled for this machine, or for the card in emulation, against HuggingFace."""

from __future__ import annotations

from typing import Annotated

import typer

from QEfficient.cli import models
from QEfficient.errors import VerificationError


def verify(
    model: models.Model,
    seq_len: models.SeqLen = None,
    texts: models.Texts = None,
    emulate: Annotated[
        bool, typer.Option("--emulate", help="The card's arithmetic, emulated here; needs no card.")
    ] = False,
    mxfp6: Annotated[
        bool, typer.Option("--mxfp6", help="Compile with MXFP6 weights; counts on a card and with --emulate.")
    ] = False,
    min_cosine: Annotated[float | None, typer.Option(help="In place of the default limit.")] = None,
    task: models.TaskOption = "feature-extraction",
    pooling: models.Pooling = None,
) -> None:
    """Compile a model and compare its numbers with HuggingFace in float32. Exit code 1 when a limit does not hold."""
    loaded = models.load(model, task, pooling)
    limits = None if min_cosine is None else {"min_cosine": min_cosine}
    try:
        if loaded.program_path is None:
            loaded.compile(seq_len=models.lengths(seq_len), mxfp6_matmul=mxfp6)
        elif seq_len is not None or mxfp6:
            raise typer.BadParameter(f"{model} is a saved program: its lengths and weights are as they were compiled")
        found = loaded.verify(models.lines(texts), limits, emulate=emulate)
    except VerificationError as error:
        if error.verification is not None:
            print(error.verification)
        raise
    print(found)
