"""A graph with an encoder that runs only where there is a source, so that a decode step does not pay for it."""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np
import onnx_ir as ir

from QEfficient.onnx_transforms import new_values
from QEfficient.onnx_transforms.in_place import SCATTERS
from QEfficient.records import SOURCE

_CROSS = re.compile(r"past_(key|value)_cross\.\d+")


class ReadsOnDemand(ir.passes.InPlacePass):
    """Puts the encoder, and what makes keys and values of its states, into a branch that is taken for a source.

    An encoder's input of one column holds none: of such a run these keys and values are written nowhere. In the other
    branch there are none at all, and the scatters, which stay outside, write nothing into caches that are then neither
    copied nor read. Run it where functions are inlined.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Changes ``model`` in place."""
        graph = model.graph
        source = next((value for value in graph.inputs if value.name == SOURCE), None)
        writes = [node for node in graph if node.op_type in SCATTERS and _is_cross(node.inputs[0])]
        values = dict.fromkeys(value for node in writes for value in node.inputs[1:] if value is not None)
        moved = _only_for(graph, values)
        makers = [value.producer() for value in values]
        if source is None or not writes or not all(_is_moved(maker, moved) for maker in makers):
            return ir.passes.PassResult(model, modified=False)
        _branch(model, source, writes, list(values), moved)
        return ir.passes.PassResult(model, modified=True)


def _is_moved(maker: ir.Node | None, moved: dict[ir.Node, None]) -> bool:
    """Whether a node can go into the branch, and is none itself."""
    return maker is not None and maker in moved and maker.op_type != "If"


def _is_cross(value: ir.Value | None) -> bool:
    return value is not None and _CROSS.fullmatch(str(value.name)) is not None


def _only_for(graph: ir.Graph, values: Iterable[ir.Value]) -> dict[ir.Node, None]:
    """The nodes that nothing but these values needs, in the graph's order."""
    wanted = set(values)
    found: set[ir.Node] = set()
    for node in reversed(graph):
        needed = any(value in wanted for value in node.outputs)
        for value in node.outputs:
            users = {user for user, _ in value.uses()}
            needed = needed or bool(users & found)
            if value not in wanted and (value.is_graph_output() or not users <= found):
                break
        else:
            if needed:
                found.add(node)
    return {node: None for node in graph if node in found}


def _branch(
    model: ir.Model, source: ir.Value, writes: list[ir.Node], values: list[ir.Value], moved: dict[ir.Node, None]
) -> None:
    graph, names = model.graph, new_values.Names(model)
    width, count, reads, batch = (
        ir.Value(name=names.new(f"source_{name}")) for name in ("width", "count", "is", "batch")
    )
    indices = {node.inputs[1] for node in writes}
    states = {value: node.inputs[0] for node in writes for value in node.inputs[1:]}
    one = new_values.initializer(graph, np.array(1), names.new("no_source"))
    results = [ir.Value(name=names.new(f"{value.name}_read"), type=value.type) for value in values]
    for value, result in zip(values, results, strict=True):
        for user, place in tuple(value.uses()):
            if user not in moved:
                user.replace_input_with(place, result)
    graph.remove(list(moved))
    empty = [_empty(states[value], batch, names, of_indices=value in indices) for value in values]
    branches = {
        "then_branch": ir.Graph([], values, nodes=list(moved), name="reads_source"),
        "else_branch": ir.Graph(
            [],
            [nodes[-1].outputs[0] for nodes in empty],
            nodes=[node for nodes in empty for node in nodes],
            name="has_source",
        ),
    }
    writes[0].prepend(
        [
            ir.node("Shape", [source], {"start": 0, "end": 1}, outputs=[batch], name="node_source_batch"),
            ir.node("Shape", [source], {"start": 1, "end": 2}, outputs=[width], name="node_source_width"),
            ir.node("Squeeze", [width], outputs=[count], name="node_source_count"),
            ir.node("Greater", [count, one], outputs=[reads], name="node_source_is"),
            ir.node("If", [reads], branches, outputs=results, name="node_read_source"),
        ]
    )
    graph.sort()


def _empty(state: ir.Value | None, batch: ir.Value, names: new_values.Names, *, of_indices: bool) -> list[ir.Node]:
    """Nodes of which the last gives what a scatter writes nothing from: indices, or numbers, of no position."""
    assert state is not None and state.shape is not None
    width = 3 if of_indices else state.shape[3]
    rest = new_values.constant(np.array([state.shape[1], 0, width], np.int64), names.new("no_rows"))
    size, made = (ir.Value(name=names.new(name)) for name in ("no_size", "nothing"))
    fill = ir.tensor(np.zeros(1, np.int64 if of_indices else np.float32))
    return [
        rest,
        ir.node("Concat", [batch, rest.outputs[0]], {"axis": 0}, outputs=[size], name=f"node_{size.name}"),
        ir.node("ConstantOfShape", [size], {"value": fill}, outputs=[made], name=f"node_{made.name}"),
    ]
