"""What a graph computes of shapes and constants, computed: small values that are the same in every run."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator

from QEfficient.numerics.steps import Step, Tensor

log = logging.getLogger("QEfficient")

SMALL = 4096
"""Most elements of a value that is kept: shapes, axes, positions; no weight of a matrix product."""

_RANDOM = frozenset(
    {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli", "Dropout"}
)


def is_small(shape: Sequence[int]) -> bool:
    """Whether a value of this shape is kept."""
    return int(np.prod(shape, dtype=np.int64)) <= SMALL


def evaluate(step: Step, outputs: Sequence[Tensor], opsets: Mapping[str, int]) -> list[NDArray[np.generic]] | None:
    """The step's results, where they follow from shapes and small constants alone; else ``None``."""
    proto = step.proto
    if proto.domain or any(tensor.shape is not None and not is_small(tensor.shape) for tensor in outputs):
        return None
    if proto.op_type in ("Shape", "Size"):
        return _shape(step)
    if proto.op_type in _RANDOM or any(one is not None and one.value is None for one in step.inputs):
        return None
    return _computed(step, outputs, opsets)


def _shape(step: Step) -> list[NDArray[np.generic]] | None:
    shape = step.inputs[0].shape if step.inputs[0] is not None else None
    if shape is None:
        return None
    if step.proto.op_type == "Size":
        return [np.array(np.prod(shape, dtype=np.int64), np.int64)]
    given = {one.name: one.i for one in step.proto.attribute}
    return [np.array(shape[given.get("start", 0) : given.get("end")], np.int64)]


def _computed(step: Step, outputs: Sequence[Tensor], opsets: Mapping[str, int]) -> list[NDArray[np.generic]] | None:
    named = zip(step.proto.input, step.inputs, strict=True)
    feeds = {name: tensor.value for name, tensor in named if tensor is not None}
    graph = onnx.helper.make_graph(
        [step.proto],
        "node",
        [onnx.ValueInfoProto(name=name) for name in feeds],
        [onnx.ValueInfoProto(name=tensor.name) for tensor in outputs if tensor.name],
    )
    imports = [onnx.helper.make_opsetid(domain, version) for domain, version in opsets.items()]
    try:
        with np.errstate(all="ignore"):  # log(0) and the like are the graph's own business
            found = ReferenceEvaluator(onnx.helper.make_model(graph, opset_imports=imports)).run(None, feeds)
    except Exception as error:  # it is written in Python and may fail in any way; the value is then not known here
        log.debug("onnx's evaluator on %s: %s", step.op, error)
        return None
    arrays = iter(found)
    made = [np.asarray(next(arrays)) if tensor.name else np.zeros(0) for tensor in outputs]
    return made if all(array.size <= SMALL for array in made) else None
