"""Turns repeated layers into calls of one ONNX function."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from QEfficient.errors import TransformError
from QEfficient.onnx_transforms import weights

DOMAIN = "qefficient.layers"
_CONSTANT_ELEMENTS = 64  # a shape, an axis, a scalar; never a weight
_LAYER = re.compile(r"(?P<list>.+)\.\d+")  # a member of a ModuleList: its own path, then its number


class LayerFunctions(ir.passes.InPlacePass):
    """Makes one ONNX function of each kind of layer that stands in the graph at least twice.

    Layers are found by ``name_scopes``, the torch module path of a node: the outermost members of a ``ModuleList``
    whose nodes are the same in kind, attributes, wiring and shapes of weights. A layer's weights, its states and the
    mask become inputs of the call; small constants that are equal in all layers go into the function, so that a
    compiler sees the shapes. What one layer computes for all of them (a relative position bias, a shape) stays
    outside. The numbers do not change. Run it after the other passes.

    Raises:
        TransformError: No layer is repeated, so there is nothing that a function would share.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Changes ``model`` in place."""
        kinds: dict[tuple[str, object], list[_Layer]] = {}
        for (family, path), nodes in _members(model.graph).items():
            layer = _outline(path, nodes)
            if layer is not None:
                kinds.setdefault((family, layer.signature), []).append(layer)
        repeated = [(family, layers) for (family, _), layers in kinds.items() if len(layers) > 1]
        if not repeated:
            raise TransformError(
                "No layer of the graph is repeated, so no ONNX function can be made.",
                got=f"{len(kinds)} layers, all different",
                allowed="at least two layers of one ModuleList with the same nodes",
                do="leave use_onnx_subfunctions out for this model",
            )
        for number, (family, layers) in enumerate(repeated):
            _make_function(model, f"{family.rpartition('.')[2]}_{number}", layers)
        model.graph.opset_imports[DOMAIN] = 1
        model.graph.sort()
        return ir.passes.PassResult(model, modified=True)


@dataclass(frozen=True)
class _Layer:
    """Nodes of one layer, what they take from outside in order of first use, and what is used of them outside."""

    path: str
    nodes: tuple[ir.Node, ...]
    inputs: tuple[ir.Value, ...]
    outputs: tuple[ir.Value, ...]
    signature: object


def _members(graph: ir.Graph) -> dict[tuple[str, str], list[ir.Node]]:
    """(path of a ModuleList, path of its member) → the member's nodes, in graph order."""
    found: dict[tuple[str, str], list[ir.Node]] = {}
    for node in graph:
        scopes = node.metadata_props.get(weights.NAME_SCOPES)
        for path in ast.literal_eval(scopes)[:-1] if scopes else ():  # the last entry is the operation
            match = _LAYER.fullmatch(path)
            if match:
                found.setdefault((match["list"], path), []).append(node)
                break
    return found


def _outline(path: str, nodes: Sequence[ir.Node]) -> _Layer | None:
    """The layer without what it computes for others; ``None`` where a node holds a subgraph."""
    if any(list(weights.graphs_in(node)) for node in nodes):
        return None
    used_outside = _used_outside(nodes)
    if not used_outside:
        return None
    states = used_outside[-1]  # what the last node makes is what the next layer goes on with
    shared = {node for value in used_outside if value is not states for node in weights.makers(value, set(nodes))}
    own = tuple(node for node in nodes if node not in shared)
    if states.producer() not in own:
        return None
    made = {value for node in own for value in node.outputs}
    inputs = tuple(dict.fromkeys(v for node in own for v in node.inputs if v is not None and v not in made))
    outputs = tuple(_used_outside(own))
    return _Layer(path, own, inputs, outputs, _signature(own, inputs, outputs))


def _used_outside(nodes: Iterable[ir.Node]) -> list[ir.Value]:
    inside = set(nodes)
    return [
        value
        for node in nodes
        for value in node.outputs
        if value.is_graph_output() or any(user not in inside for user in value.consumers())
    ]


def _signature(nodes: Sequence[ir.Node], inputs: Sequence[ir.Value], outputs: Sequence[ir.Value]) -> object:
    """Equal for two layers exactly when one function can stand for both."""
    numbers: dict[ir.Value | None, object] = {None: None}
    numbers |= {value: ("input", index) for index, value in enumerate(inputs)}
    lines = []
    for index, node in enumerate(nodes):
        attributes = tuple(sorted((name, str(attribute.value)) for name, attribute in node.attributes.items()))
        lines.append((node.op_identifier(), attributes, tuple(numbers[value] for value in node.inputs)))
        numbers |= {value: (index, position) for position, value in enumerate(node.outputs)}
    held = [(str(value.dtype), str(value.shape)) if value.is_initializer() else None for value in inputs]
    return (tuple(lines), tuple(held), tuple(numbers[value] for value in outputs))


def _make_function(model: ir.Model, name: str, layers: Sequence[_Layer]) -> None:
    constants = _equal_constants(layers)
    function = _function(name, layers[0], constants, model.graph.opset_imports)
    model.functions[function.identifier()] = function
    for layer in layers:
        _call(model.graph, function, layer, constants)


def _equal_constants(layers: Sequence[_Layer]) -> dict[int, ir.TensorProtocol]:
    """Index of an input → its value, where that is small and the same in every layer."""
    found: dict[int, ir.TensorProtocol] = {}
    for index in range(len(layers[0].inputs)):
        tensors = [weights.constant(layer.inputs[index]) for layer in layers]
        first = tensors[0]
        if first is None or first.size > _CONSTANT_ELEMENTS:
            continue
        if all(other is not None and _equal(first, other) for other in tensors):
            # A weight such as a norm's may be this small and equal by chance; folding it is right all the same.
            found[index] = first
    return found


def _equal(first: ir.TensorProtocol, other: ir.TensorProtocol) -> bool:
    return (first.dtype, tuple(first.shape)) == (other.dtype, tuple(other.shape)) and (
        first.tobytes() == other.tobytes()
    )


def _function(name: str, layer: _Layer, constants: dict[int, ir.TensorProtocol], opsets: dict[str, int]) -> ir.Function:
    inside: dict[ir.Value, ir.Value] = {}
    nodes: list[ir.Node] = []
    for index, value in enumerate(layer.inputs):
        inside[value] = ir.Value(name=f"input_{index}", type=value.type, shape=value.shape)
        if index in constants:
            tensor = ir.tensor(constants[index].numpy())
            nodes.append(ir.node("Constant", [], {"value": tensor}, outputs=[inside[value]]))
    for node in layer.nodes:
        for position, value in enumerate(node.outputs):
            inside[value] = ir.Value(name=value.name or f"{node.name}_{position}", type=value.type, shape=value.shape)
        made = ir.Node(
            node.domain,
            node.op_type,
            [None if value is None else inside[value] for value in node.inputs],
            list(node.attributes.values()),
            overload=node.overload,
            outputs=[inside[value] for value in node.outputs],
            name=node.name,
        )
        made.metadata_props.update(node.metadata_props)
        nodes.append(made)
    graph = ir.Graph(
        [inside[value] for index, value in enumerate(layer.inputs) if index not in constants],
        [inside[value] for value in layer.outputs],
        nodes=nodes,
        opset_imports=dict(opsets),
        name=name,
    )
    return ir.Function(DOMAIN, name, graph=graph, attributes=[])


def _call(graph: ir.Graph, function: ir.Function, layer: _Layer, constants: dict[int, ir.TensorProtocol]) -> None:
    call = ir.Node(
        function.domain,
        function.name,
        [value for index, value in enumerate(layer.inputs) if index not in constants],
        name=layer.path,
        outputs=[ir.Value(name=old.name, type=old.type, shape=old.shape) for old in layer.outputs],
    )
    call.metadata_props[weights.NAME_SCOPES] = repr(["", layer.path, function.name])
    graph.insert_after(layer.nodes[-1], call)
    for old, new in zip(layer.outputs, call.outputs, strict=True):
        old.replace_all_uses_with(new, replace_graph_outputs=True)
    graph.remove(layer.nodes, safe=True)
    for index in constants:
        value = layer.inputs[index]
        if value.is_initializer() and not value.uses() and not value.is_graph_output():
            graph.initializers.pop(str(value.name), None)
