"""Indices out of range as the card treats them, for onnxruntime, which fails on them.

A scattered row whose index is too large is dropped; a gathered number whose index is too large is some number: NaN
here, which shows wherever it goes. An index of -1 is the last row, as ONNX has it. Gathers of integers stay strict:
they are lookups in shapes.
"""

import numpy as np
from onnx import TensorProto, helper, numpy_helper, shape_inference

GATHERS = ("Gather", "GatherElements", "GatherND")


def drop_and_poison(model) -> None:
    """Rewrite the scatters and gathers of a graph without functions."""
    inferred = shape_inference.infer_shapes(model).graph
    values = [*inferred.input, *inferred.output, *inferred.value_info]
    floats = {v.name for v in values if v.type.tensor_type.elem_type == TensorProto.FLOAT}
    floats |= {tensor.name for tensor in model.graph.initializer if tensor.data_type == TensorProto.FLOAT}
    writer = _Writer(model.graph)
    for place, node in enumerate(list(model.graph.node)):
        writer.prefix = f"bounds/{place}"
        if node.op_type == "ScatterND":
            _drop(writer, node)
        elif node.op_type in GATHERS and node.input[0] in floats:
            _poison(writer, node)
        else:
            writer.nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(writer.nodes)


class _Writer:
    """Adds nodes and constants under names of their own."""

    def __init__(self, graph):
        self.graph, self.nodes, self.prefix = graph, [], ""

    def constant(self, value, dtype=np.int64) -> str:
        name = f"{self.prefix}/c{len(self.graph.initializer)}"
        self.graph.initializer.append(numpy_helper.from_array(np.array(value, dtype), name))
        return name

    def node(self, kind, *inputs, **attributes) -> str:
        name = f"{self.prefix}/n{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def valid(self, indices, dims) -> tuple:
        """The indices as int64, counted from 0; and where they are in range."""
        indices, zero = self.node("Cast", indices, to=TensorProto.INT64), self.constant(0)
        positive = self.node("Where", self.node("Less", indices, zero), self.node("Add", indices, dims), indices)
        low = self.node("Not", self.node("Less", positive, zero))
        return positive, self.node("And", low, self.node("Less", positive, dims))

    def all_of(self, valid) -> str:
        """Whether a whole tuple along the last axis is in range, that axis kept."""
        number = self.node("Cast", valid, to=TensorProto.FLOAT)
        least = self.node("Sub", self.constant(1, np.float32), number)
        worst = self.node("ReduceSum", least, self.constant([-1]), keepdims=1)
        return self.node("Less", worst, self.constant(0.5, np.float32))

    def part(self, shape, start, end) -> str:
        return self.node("Slice", shape, start, end)


def _drop(w: _Writer, node) -> None:
    """Rows out of range go to a row behind the data, which is cut off."""
    data, indices = node.input[:2]
    shape, one, zero = w.node("Shape", data), w.constant([1]), w.constant([0])
    depth = w.part(w.node("Shape", indices), w.constant([-1]), w.constant([2**31]))
    positive, valid = w.valid(indices, w.part(shape, zero, depth))
    length = w.part(shape, zero, one)
    rest = w.node("Expand", zero, w.node("Sub", depth, one))
    behind = w.node("Concat", length, rest, axis=0)
    node.input[0] = w.node("Concat", data, w.node("Slice", data, zero, one, zero), axis=0)
    node.input[1] = w.node("Where", w.all_of(valid), positive, behind)
    output, node.output[0] = node.output[0], f"{w.prefix}/scattered"
    w.nodes.append(node)
    w.nodes.append(helper.make_node("Slice", [node.output[0], zero, length, zero], [output]))


def _poison(w: _Writer, node) -> None:
    """What is gathered from out of range is NaN."""
    data, indices = node.input[:2]
    shape, zero = w.node("Shape", data), w.constant([0])
    attributes = {a.name: a.i for a in node.attribute}
    if node.op_type == "GatherND":
        batch = attributes.get("batch_dims", 0)
        depth = w.part(w.node("Shape", indices), w.constant([-1]), w.constant([2**31]))
        start = w.constant([batch])
        positive, valid = w.valid(indices, w.part(shape, start, w.node("Add", start, depth)))
        whole = w.node("Squeeze", w.all_of(valid), w.constant([-1]))
    else:
        axis = w.constant([attributes.get("axis", 0)])
        positive, whole = w.valid(indices, w.node("Squeeze", w.node("Gather", shape, axis), zero))
        valid = whole
    node.input[1] = w.node("Where", valid, positive, w.constant(0))
    output, node.output[0] = node.output[0], f"{w.prefix}/gathered"
    w.nodes.append(node)
    if node.op_type != "GatherElements":  # each index stands for a slice: as many axes of 1 behind its place
        found = w.node("Shape", node.output[0])
        rank = w.node("Shape", found)
        before = attributes.get("axis", 0) if node.op_type == "Gather" else 0
        own = w.node("Shape", whole)
        ones = w.node("Sub", w.node("Sub", rank, w.node("Shape", own)), w.constant([before]))
        tail = w.node("Expand", w.constant([1]), ones)
        whole = w.node("Reshape", whole, w.node("Concat", own, tail, axis=0))
    nan = w.constant(np.nan, np.float32)
    w.nodes.append(helper.make_node("Where", [whole, node.output[0], nan], [output]))
