"""What the products of a decoder read: its graph in fp32 is run over texts, some of its tensors further outputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray
from onnx import helper

from QEfficient.backends.base import Arrays
from QEfficient.compress.compress_weights import SMALLEST
from QEfficient.compress.graph import opened
from QEfficient.compress.weight_readers import is_by_output, readers_of
from QEfficient.onnx_transforms import adopt, read
from QEfficient.records import BATCH_INDEX, INPUT_IDS, NUM_LOGITS_TO_KEEP, POSITION_IDS, OnnxModel, Shape, TensorSpec
from QEfficient.tasks.text_generation import CTX_DIM, SLOTS_DIM, WINDOW_DIM

MOST_BYTES = 512 * 2**20
"""Of what is kept at once of what products read: of a graph with more the texts run again, for the next products."""

_GIVEN = frozenset({INPUT_IDS, POSITION_IDS, BATCH_INDEX, NUM_LOGITS_TO_KEEP})
_SLOTS = 2  # one, and the one that takes dropped writes

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Read:
    """A tensor that products with constant matrices read.

    Attributes:
        tensor: Its name.
        width: Its last dim: the products' inputs.
        weights: Names of the matrices, in the order of the graph.
    """

    tensor: str
    width: int
    weights: tuple[str, ...]


def find_read(path: Path) -> tuple[Read, ...]:
    """What the products of a graph read whose matrices may have few bits, in the graph's order.

    A matrix that is multiplied by several tensors is left out, as one in a branch is.

    Args:
        path: The graph's file.
    """
    graph = read(path).graph
    found: dict[str, tuple[int, list[str]]] = {}
    order = {output: place for place, node in enumerate(graph) for output in node.outputs}
    for value in graph.initializers.values():
        tensor, shape = value.const_value, tuple(value.shape.numpy()) if value.shape is not None else ()
        if tensor is None or tensor.dtype != ir.DataType.FLOAT or len(shape) != 2 or tensor.size < SMALLEST:
            continue
        if not value.uses():
            continue
        readers, kept = readers_of(value)
        if kept:
            continue
        products = [*_products(value)]
        tensors = {node.inputs[0] for node in products}
        operand = next(iter(tensors), None)
        if len(tensors) == 1 and operand in order and all(node.graph is graph for node in products):
            width = shape[1] if is_by_output(readers) else shape[0]
            found.setdefault(str(operand.name), (width, []))[1].append(str(value.name))
    place = {str(output.name): number for output, number in order.items()}
    names = sorted(found, key=lambda name: place[name])
    return tuple(Read(name, found[name][0], tuple(found[name][1])) for name in names)


def _products(weight: ir.Value) -> Iterator[ir.Node]:
    """The products of a matrix, turned ones too."""
    for node, _ in weight.uses():
        if node.op_type == "Transpose":
            yield from node.outputs[0].consumers()
        elif node.op_type != "Gather":
            yield node


def rows_read(
    model: OnnxModel,
    found: Sequence[Read],
    texts: Sequence[Sequence[int]],
    folder: Path,
    progress: Callable[[int], None] | None = None,
    most_bytes: int = MOST_BYTES,
) -> Iterator[tuple[Read, list[Floats]]]:
    """Each of ``found`` with the rows that its products read, ``(rows, width)`` for each text.

    No more than ``most_bytes`` are held at a time, or those of one tensor: before the next ones the texts run again, up
    to where these are.

    Args:
        model: The graph in fp32.
        found: What to look at.
        texts: Ids.
        folder: Empty; where graphs with more outputs are written.
        progress: Called after each run.
        most_bytes: See above.
    """
    held = adopt(model.path, folder)
    tokens = sum(map(len, texts))
    waiting = [*found]
    while waiting:
        part, size = [waiting.pop(0)], 0
        size = tokens * part[0].width * 4
        while waiting and size + tokens * waiting[0].width * 4 <= most_bytes:
            size += tokens * waiting[0].width * 4
            part.append(waiting.pop(0))
        rows = _run(replace(held, inputs=model.inputs), part, texts, folder, progress)
        for one in part:
            yield one, rows.pop(one.tensor)


def _run(
    model: OnnxModel,
    part: Sequence[Read],
    texts: Sequence[Sequence[int]],
    folder: Path,
    progress: Callable[[int], None] | None,
) -> dict[str, list[Floats]]:
    proto = onnx.load_model(model.path, load_external_data=False)
    there = {output.name for output in proto.graph.output}
    wanted = [TensorSpec(one.tensor, "float32", ("rows", one.width)) for one in part]
    for spec in wanted:
        if spec.name not in there:
            proto.graph.output.append(helper.make_tensor_value_info(spec.name, onnx.TensorProto.FLOAT, None))
    rows: dict[str, list[Floats]] = {one.tensor: [] for one in part}
    with opened(proto, folder / "read.onnx", model.inputs, wanted) as session:
        for ids in texts:
            results = session.run(_inputs(model.inputs, ids))
            for one in part:
                rows[one.tensor].append(results[one.tensor].reshape(-1, one.width).astype(np.float32, copy=False))
            if progress is not None:
                progress(1)
    return rows


def _inputs(specs: Sequence[TensorSpec], ids: Sequence[int]) -> Arrays:
    """A text in one run, with empty caches."""
    length = len(ids)
    given: Mapping[str, NDArray[np.int64]] = {
        INPUT_IDS: np.array([ids], np.int64),
        POSITION_IDS: np.arange(length, dtype=np.int64)[None],
        BATCH_INDEX: np.zeros((1, 1), np.int64),
        NUM_LOGITS_TO_KEEP: np.zeros((length, 1), np.int64),
    }
    sizes = {CTX_DIM: length + 1, SLOTS_DIM: _SLOTS, WINDOW_DIM: length + 1, NUM_LOGITS_TO_KEEP: length}
    shape = Shape(length, 1, sizes)
    return {
        spec.name: given[spec.name].astype(spec.dtype) if spec.name in _GIVEN else np.zeros(spec.at(shape), spec.dtype)
        for spec in specs
    }
