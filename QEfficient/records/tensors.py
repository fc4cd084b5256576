"""Tensors and graphs: what an input looks like, and a graph on disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from QEfficient.records.programs import Shape

BATCH_DIM, LENGTH_DIM = "batch_size", "seq_len"
"""The two dims that every part of the library knows. Any other name is between a graph and whoever runs it."""

ROW_SLOTS = "row_slots"
"""First dim of a state of which a run is given the slots of its rows only, in their order."""

Json = Any  # a value that json.dumps takes; checked where it enters, in cache.canonical_json


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output of a graph.

    Attributes:
        name: Its name in the graph.
        dtype: Its numpy dtype's name, ``"int64"`` or ``"float32"``.
        shape: One entry a dim; a string is a free dim, such as ``"batch_size"``.
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...]

    def at(self, shape: Shape) -> tuple[int, ...]:
        """The shape with every free dim replaced by its size in ``shape``."""
        sizes = shape.sizes
        return tuple(d if isinstance(d, int) else sizes[d] for d in self.shape)

    @property
    def harmless(self) -> int:
        """A number that every model takes: 0 for types, boxes and the like, whose table may have one row; else 1."""
        return 0 if self.dtype.startswith("int") and self.name != "input_ids" and not self.name.endswith("mask") else 1


@dataclass(frozen=True, slots=True)
class OnnxModel:
    """An ONNX graph on disk; never a loaded one.

    Attributes:
        path: The ``.onnx`` file. Its external data stands beside it.
        inputs, outputs: In graph order.
        digest: SHA-256 over the graph file and all its external data.
        functions: True when repeated layers are ONNX functions.
        files: Relative path with ``/`` → SHA-256, of the graph's files whose digests are known: whoever seals a folder
            with them need not read them again.
    """

    path: Path
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    digest: str
    functions: bool = False
    files: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)
