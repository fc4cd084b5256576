"""Tensors, shapes and graphs: what an input looks like, and a graph on disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import total_ordering
from pathlib import Path
from typing import Any

BATCH_DIM, LENGTH_DIM = "batch_size", "seq_len"
"""The two dims that every part of the library knows. Any other name is between a graph and whoever runs it."""

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


@total_ordering
@dataclass(frozen=True, slots=True, init=False)
class Shape:
    """A size for every free dim of a graph's inputs, by name. They order by length, then batch, then the rest.

    >>> Shape(32, 4).sizes, Shape(batch=4).sizes
    ({'batch_size': 4, 'seq_len': 32}, {'batch_size': 4})
    >>> Shape(1, 4, {"ctx_len": 128})
    Shape(sizes={'batch_size': 4, 'seq_len': 1, 'ctx_len': 128})

    Attributes:
        sizes: Dim name → size: batch first, then length, as specialization files list them.
    """

    sizes: Mapping[str, int]

    def __init__(self, length: int | None = None, batch: int | None = None, sizes: Mapping[str, int] | None = None):
        """``length`` and ``batch`` go before what ``sizes`` says of these two. An image of one size has no length."""
        known = sizes or {}
        named = {BATCH_DIM: known.get(BATCH_DIM, 1) if batch is None else batch}
        if length is not None or LENGTH_DIM in known:
            named[LENGTH_DIM] = known[LENGTH_DIM] if length is None else length
        object.__setattr__(self, "sizes", named | {dim: known[dim] for dim in sorted(known) if dim not in named})

    @classmethod
    def largest(cls, shapes: Sequence[Shape]) -> Shape:
        """Each dim at the largest size that it has in any of ``shapes``."""
        sizes: dict[str, int] = {}
        for shape in shapes:
            sizes |= {dim: max(size, sizes.get(dim, size)) for dim, size in shape.sizes.items()}
        return cls(sizes=sizes)

    @property
    def batch(self) -> int:
        """Size of the batch dim, in rows."""
        return self.sizes[BATCH_DIM]

    @property
    def length(self) -> int:
        """Size of the length dim: tokens of a text, samples of a clip; 1 where there is no such dim."""
        return self.sizes.get(LENGTH_DIM, 1)

    def __str__(self) -> str:
        known = {BATCH_DIM: "batch", LENGTH_DIM: "length"}
        return ", ".join(f"{known.get(dim, dim)} {size}" for dim, size in self.sizes.items())

    def __hash__(self) -> int:
        return hash(tuple(self.sizes.items()))

    def __lt__(self, other: Shape) -> bool:
        return (self.length, self.batch, *self.sizes.items()) < (other.length, other.batch, *other.sizes.items())


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
