"""``QEFFAutoModelForMultipleChoice``: which of several texts fits best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from QEfficient.auto.base import QEFFTransformersBase
from QEfficient.backends.base import Arrays
from QEfficient.errors import InputError
from QEfficient.runtime.rows import as_numpy, items_of
from QEfficient.tasks.catalogue import MULTIPLE_CHOICE


class QEFFAutoModelForMultipleChoice(QEFFTransformersBase):
    """Several choices a row → one score a choice.

    The graph takes one choice a row, so any number of choices runs in one program.

    Args:
        model: A HuggingFace model of this task that is already loaded.
    """

    _task = MULTIPLE_CHOICE

    def generate(
        self,
        inputs: Mapping[str, Any],
        device_ids: Sequence[int] | None = None,
        runtime_ai100: bool = True,
        write_io: bool = False,
        dtype: Any = None,
    ) -> Arrays:
        """As in the base class, on inputs of shape ``(rows, choices, length)``.

        Returns:
            ``{"logits": array}`` of shape ``(rows, choices)``.

        Raises:
            InputError: The inputs are not 3-D, or differ in shape.
        """
        flat, shape = _flatten(inputs)
        arrays = super().generate(flat, device_ids, runtime_ai100, write_io, dtype)
        return {name: array.reshape(shape) for name, array in arrays.items()}


def _flatten(inputs: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[int, int]]:
    """Each choice as a row of its own, and ``(rows, choices)``."""
    arrays = {name: as_numpy(name, value) for name, value in items_of(inputs) if value is not None}
    shapes = {name: array.shape for name, array in arrays.items()}
    if len(set(shapes.values())) != 1 or any(len(shape) != 3 for shape in shapes.values()):
        raise InputError(
            "The inputs of a multiple-choice model are not of one 3-D shape.",
            got=", ".join(f"{name} {shape}" for name, shape in shapes.items()) or "no inputs",
            allowed="(rows, choices, length) for each",
            do="tokenise rows × choices texts padded to one length, and reshape each array",
        )
    rows, choices, length = next(iter(shapes.values()))
    return {name: array.reshape(rows * choices, length) for name, array in arrays.items()}, (rows, choices)
