"""What a walk through a graph meets: tensors with their shapes, and the nodes that read and write them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray

VIEWS = frozenset({"Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity"})
"""Operators that give a tensor another shape and move nothing."""

Dims = tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Tensor:
    """What is known of one value in one run.

    Attributes:
        name: As in the graph.
        dtype: Its type; ``UNDEFINED`` where that is not known.
        shape: ``None`` where it is not known.
        value: Its numbers, where they are few and the same in every run at this bucket.
        weight: True for a constant that the graph holds.
        source: The tensor whose memory this one shows under another shape.
    """

    name: str
    dtype: ir.DataType
    shape: Dims | None
    value: NDArray[np.generic] | None = None
    weight: bool = False
    source: Tensor | None = None

    @property
    def elements(self) -> int:
        """How many; 0 where the shape is not known."""
        return 0 if self.shape is None else int(np.prod(self.shape, dtype=np.int64))

    def bytes(self, float_bytes: int | None = None) -> int:
        """Size in bytes.

        Args:
            float_bytes: Bytes of a floating-point element; left out, as many as its own type has.
        """
        if float_bytes is not None and self.dtype.is_floating_point():
            return self.elements * float_bytes
        return 0 if self.dtype == ir.DataType.UNDEFINED else -(-self.elements * self.dtype.bitwidth // 8)


@dataclass(frozen=True, slots=True)
class Step:
    """One node at work.

    Attributes:
        proto: The node, its attributes resolved.
        name: Name of its first output.
        op: Operator, with its domain where that is not the standard one.
        module: Path of the torch module.
        inputs, outputs: What it reads and writes; ``None`` for an input that is left out.
        runs: How often it runs: more than once in a loop.
    """

    proto: onnx.NodeProto
    name: str
    op: str
    module: str
    inputs: tuple[Tensor | None, ...]
    outputs: tuple[Tensor, ...]
    runs: int = 1

    @property
    def constant(self) -> bool:
        """Whether its results are the same in every run, so that nothing is left to compute."""
        return all(tensor.value is not None for tensor in self.outputs)


@dataclass(frozen=True, slots=True)
class Walk:
    """A graph at one bucket.

    Attributes:
        inputs, outputs: Of the graph.
        steps: In the order of running.
        unknown: Name of a node → why its shapes or the number of its runs can't be told.
        shapeless: Values of the main graph whose shape is not known.
    """

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    steps: tuple[Step, ...]
    unknown: Mapping[str, str]
    shapeless: tuple[str, ...] = ()
