"""Teacher and student, and what the teacher says: computed once and kept beside the checkpoints."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from QEfficient.cache import content_key
from QEfficient.compress.pruning.depth import Layers, cut_layers
from QEfficient.errors import InputError
from QEfficient.records import Json, TextFacts

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import nn

log = logging.getLogger("QEfficient")


@dataclass(frozen=True, slots=True)
class ModelWithTokenizer:
    """A module and what reads texts for it.

    Attributes:
        module: Of transformers, in float32.
        tokenizer: HuggingFace's, a fast one.
        text: The model's limit, prompts, and whether it lower-cases; ``None``: what tokenizer and config say.
    """

    module: nn.Module
    tokenizer: Any
    text: TextFacts | None = None


def kept(folder: Path, made_of: dict[str, Json], compute: Callable[[], NDArray[np.float32]]) -> NDArray[np.float32]:
    """An array that is computed the first time it is asked for, and read from the folder from then on.

    Args:
        folder: Of the run.
        made_of: What decides its values.
        compute: Makes it.

    Returns:
        The array, mapped from its file.

    Raises:
        InputError: It holds NaN or Inf. Nothing is kept.
    """
    import numpy as np

    file = folder / f"teacher-{content_key(made_of)[:16]}.npy"
    if not file.is_file():
        found = compute()
        if not np.isfinite(found).all():
            raise InputError(
                "The teacher's answers hold NaN or Inf, so nothing can be learned from them.",
                got=f"{int((~np.isfinite(found)).sum())} of {found.size} numbers",
                allowed="finite numbers",
                do="check the teacher with verify(), or load its weights again",
            )
        written = file.with_name(f"{file.stem}-{os.getpid()}.part")  # of several processes each may come first
        with written.open("wb") as stream:
            np.save(stream, found)
        written.replace(file)
        log.info("the teacher's answers are in %s", file)
    mapped: NDArray[np.float32] = np.load(file, mmap_mode="r")
    return mapped


@contextmanager
def asked(module: nn.Module) -> Iterator[None]:
    """While it is entered the module is in eval mode and no gradients are kept; it is as before afterwards."""
    import torch

    modes = {part: part.training for part in module.modules()}
    try:
        module.eval()
        with torch.inference_mode():
            yield
    finally:
        for part, mode in modes.items():
            part.training = mode


def student_of(
    teacher: ModelWithTokenizer, wanted: ModelWithTokenizer | Layers
) -> tuple[ModelWithTokenizer, tuple[int, ...]]:
    """The student, and the teacher's layers that it begins with: none for a model of its own.

    Args:
        teacher: It stays as it is.
        wanted: A model, or which layers.

    Raises:
        InputError: The student's table of words is smaller than its tokenizer's.
        OptionError: There are no such layers.
        UsageError: The teacher's layers can't be cut.
    """
    if not isinstance(wanted, ModelWithTokenizer):
        module, layers = cut_layers(teacher.module, wanted)
        return ModelWithTokenizer(module, teacher.tokenizer, teacher.text), layers
    own: Any = wanted.module
    rows = int(own.get_input_embeddings().weight.shape[0])
    if rows < len(wanted.tokenizer):
        raise InputError(
            "The student has fewer words than the tokenizer that is to read for it.",
            got=f"{len(wanted.tokenizer)} words for a table of {rows}",
            allowed="a table with a row for each word",
            do="pass the student's own tokenizer, or make it with vocab_size=len(tokenizer)",
        )
    return wanted, ()
