"""Where the numbers of a program's run stop being finite, for the error that says that they do."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

from QEfficient.backends.base import Arrays
from QEfficient.errors import NumericsError, QEfficientError
from QEfficient.records import OnnxModel, Program

if TYPE_CHECKING:
    from QEfficient.numerics.check import Array
    from QEfficient.numerics.emulate import Precision

log = logging.getLogger("QEfficient")


def place_of(model: OnnxModel, arrays: Mapping[str, Array], precision: Precision) -> str:
    """Where numbers stop being finite; ``""`` where emulation does not show it, or can't be had for this graph."""
    from QEfficient.numerics.first_bad import first_bad  # onnx

    try:
        found = first_bad(model, arrays, precision)
    except QEfficientError as error:  # what it would be added to says more
        log.warning("the layer that numbers stop being finite in could not be looked for: %s", error)
        return ""
    return found.place if found else ""


def explain(program: Program, error: NumericsError, row: Arrays) -> NumericsError:
    """The error of a run, with the layer in which its first bad row stops being finite, where emulation shows it too.

    Args:
        program: That was run.
        error: Names the rows.
        row: What the first bad row consists of.
    """
    from QEfficient.numerics.emulate import computed_in  # onnx, which a run must not need

    manifest = program.manifest
    arrays = {name: column[None] for name, column in row.items()}
    model = OnnxModel(program.onnx_path, manifest.inputs, manifest.outputs, digest="")
    try:
        precision = computed_in(manifest.options, manifest.target, program.path)
    except QEfficientError as missing:  # what it would be added to says more
        log.warning("the layer that numbers stop being finite in could not be looked for: %s", missing)
        return error
    place = place_of(model, arrays, precision)
    if not place:
        return error
    what = f"{error.what} In row {error.rows[0]} the first one comes from {place}."
    return NumericsError(what, got=error.got, allowed=error.allowed, do=error.do, rows=error.rows)
