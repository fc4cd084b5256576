"""A graph walked at one bucket: every node in the order of running, with the shapes that it meets.

All dims are numbers then, so onnx's own shape inference goes through node by node: what a graph computes of shapes is
computed here too, and given to it. Calls of functions and subgraphs are walked into. What stays unknown (shapes that
depend on data, operators of other makers) is measured by a run on the host (``measured_shapes.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import onnx
import onnx_ir as ir

from QEfficient.errors import UsageError
from QEfficient.numerics.constant_folding import evaluate, is_small
from QEfficient.numerics.outline import operator
from QEfficient.numerics.shape_inference import inferred
from QEfficient.numerics.steps import VIEWS, Dims, Step, Tensor, Walk
from QEfficient.onnx_transforms import weights
from QEfficient.onnx_transforms.graph_file import read
from QEfficient.records import OnnxModel, Shape, TensorSpec

Measured = Mapping[str, tuple[str, Dims]]
"""Name of a value of the main graph → its numpy dtype's name and shape."""


def walk(model: OnnxModel, bucket: Shape, measured: Measured | None = None) -> Walk:
    """Walks ``model`` with its free dims bound to ``bucket``.

    Args:
        model: The graph on disk. No large weight is read.
        bucket: Sizes of the free dims.
        measured: What shape inference can't know.

    Raises:
        UsageError: An input has a free dim that the bucket gives no size to.
    """
    return _Walker(read(model.path), measured or {}).run(model, bucket)


@dataclass
class _Scope:
    """Where a node stands: a graph, a function's call or a subgraph.

    Attributes:
        known: What stands for each value.
        opsets: Domain → version.
        attributes: Those that the call of a function passes on.
        call: Module path of that call.
        main: True in the main graph, where names are unique.
    """

    known: dict[ir.Value, Tensor]
    opsets: Mapping[str, int]
    attributes: Mapping[str, onnx.AttributeProto] = field(default_factory=dict)
    call: str | None = None
    main: bool = False


class _Walker:
    """Walks one loaded graph, once."""

    def __init__(self, model: ir.Model, measured: Measured) -> None:
        self._model, self._measured = model, measured
        self._steps: list[Step] = []
        self._unknown: dict[str, str] = {}
        self._shapeless: list[str] = []
        self._runs = 1

    def run(self, model: OnnxModel, bucket: Shape) -> Walk:
        """Walks the main graph."""
        graph = self._model.graph
        scope = _Scope({}, graph.opset_imports, main=True)
        for spec in model.inputs:
            value = next(one for one in graph.inputs if one.name == spec.name)
            scope.known[value] = Tensor(spec.name, value.dtype or ir.DataType.UNDEFINED, _bound(spec, bucket))
        inputs = tuple(scope.known.values())
        outputs = self._graph(graph, scope)
        return Walk(inputs, outputs, tuple(self._steps), self._unknown, tuple(self._shapeless))

    def _graph(self, graph: ir.Graph | ir.Function, scope: _Scope) -> tuple[Tensor, ...]:
        for value in graph.initializers.values() if isinstance(graph, ir.Graph) else ():
            if value not in scope.known:
                scope.known[value] = _weight(value)
        for node in graph:
            for value, tensor in zip(node.outputs, self._node(node, scope), strict=False):
                scope.known[value] = self._told(tensor, str(value.name or ""), scope)
                if scope.main and value.name and scope.known[value].shape is None:
                    self._shapeless.append(value.name)
        return tuple(scope.known[value] for value in graph.outputs)

    def _node(self, node: ir.Node, scope: _Scope) -> Sequence[Tensor]:
        if node.op_identifier() in self._model.functions:
            return self._call(node, scope)
        if node.domain == "" and node.op_type in _CONTROL:
            return _CONTROL[node.op_type](self, node, scope)
        return self._plain(node, scope)

    # ------------------------------------------------------------------------------------ nodes by themselves

    def _plain(self, node: ir.Node, scope: _Scope) -> Sequence[Tensor]:
        proto = _resolved(node, scope.attributes)
        if node.op_type == "Constant" and node.domain == "":
            return [_constant(node, proto, scope)]
        inputs = tuple(None if value is None else scope.known[value] for value in node.inputs)
        step = Step(proto, _name(node), operator(node), _module(node, scope), inputs, (), self._runs)
        outputs = tuple(self._outputs(step, scope))
        if any(tensor.shape is None for tensor in outputs):
            self._unknown.setdefault(step.name, f"the shape of what {step.op} gives is not known before it runs")
        self._steps.append(replace(step, outputs=outputs))
        return outputs

    def _outputs(self, step: Step, scope: _Scope) -> list[Tensor]:
        types = inferred(step, scope.opsets)
        made = []
        for name in step.proto.output:
            dtype, shape = types.get(name, (ir.DataType.UNDEFINED, None))
            made.append(self._told(Tensor(name, dtype, shape), name, scope))
        found = evaluate(step, made, scope.opsets)
        if found is not None:
            return [replace(tensor, value=array) for tensor, array in zip(made, found, strict=True)]
        first = step.inputs[0] if step.inputs else None
        if step.op in VIEWS and first is not None:
            return [replace(made[0], source=first.source or first), *made[1:]]
        return made

    def _told(self, tensor: Tensor, name: str, scope: _Scope) -> Tensor:
        """The tensor with the shape that was measured, where nothing else tells it."""
        if tensor.shape is not None or not scope.main or name not in self._measured:
            return tensor
        dtype, shape = self._measured[name]
        return replace(tensor, dtype=ir.DataType.from_numpy(np.dtype(dtype)), shape=shape)

    # ------------------------------------------------------------------------------------ functions, subgraphs

    def _call(self, node: ir.Node, scope: _Scope) -> Sequence[Tensor]:
        function = self._model.functions[node.op_identifier()]
        given = [None if value is None else scope.known[value] for value in node.inputs]
        absent = Tensor("", ir.DataType.UNDEFINED, None)
        known = {value: tensor or absent for value, tensor in zip(function.inputs, given, strict=False)}
        passed = {one.name: one for one in _resolved(node, scope.attributes).attribute}
        defaults = {name: ir.to_proto(one) for name, one in function.attributes.items() if one.value is not None}
        inner = _Scope(known, function.opset_imports, {**defaults, **passed}, _module(node, scope))
        return self._graph(function, inner)

    def _branch(self, graph: ir.Graph, scope: _Scope) -> tuple[Sequence[Tensor], _Walker]:
        """Walks a subgraph aside."""
        aside = _Walker(self._model, self._measured)
        aside._runs = self._runs
        return aside._graph(graph, replace(scope, known=dict(scope.known), main=False)), aside

    def _if(self, node: ir.Node, scope: _Scope) -> Sequence[Tensor]:
        """Takes the branch that is taken; where that is not known, the one that writes more: an upper limit."""
        names = ["then_branch", "else_branch"]
        condition = None if node.inputs[0] is None else scope.known[node.inputs[0]].value
        if condition is not None:
            names = names[:1] if bool(condition.reshape(-1)[0]) else names[1:]
        branches = [self._branch(node.attributes[name].as_graph(), scope) for name in names]
        taken, aside = max(branches, key=lambda one: sum(t.elements for s in one[1]._steps for t in s.outputs))
        self._steps += aside._steps
        self._unknown |= aside._unknown
        shapes = [[tensor.shape for tensor in made] for made, _ in branches]
        if shapes[0] != shapes[-1]:
            self._unknown[_name(node)] = "the shape of what If gives depends on its condition"
        return taken

    def _loop(self, node: ir.Node, scope: _Scope) -> Sequence[Tensor]:
        trips = None if node.inputs[0] is None else scope.known[node.inputs[0]].value
        states = [scope.known[value] for value in node.inputs[2:] if value is not None]
        given = [Tensor("", ir.DataType.INT64, ()), Tensor("", ir.DataType.BOOL, ()), *states]
        return self._repeat(node, scope, given, None if trips is None else int(trips.reshape(-1)[0]), len(states))

    def _scan(self, node: ir.Node, scope: _Scope) -> Sequence[Tensor]:
        count = node.attributes["num_scan_inputs"].as_int()
        tensors = [scope.known[value] for value in node.inputs if value is not None]
        states, scanned = tensors[: len(tensors) - count], tensors[len(tensors) - count :]
        axes = node.attributes.get_ints("scan_input_axes", [0] * count)
        slices = [
            Tensor("", one.dtype, None if one.shape is None else _without(one.shape, axis))
            for one, axis in zip(scanned, axes, strict=True)
        ]
        first = scanned[0].shape
        trips = None if first is None else first[axes[0]]
        return self._repeat(node, scope, [*states, *slices], trips, len(states))

    def _repeat(
        self, node: ir.Node, scope: _Scope, given: Sequence[Tensor], trips: int | None, states: int
    ) -> Sequence[Tensor]:
        """Walks a body once, and counts each of its steps ``trips`` times; its states keep their shapes."""
        if trips is None:
            self._unknown[_name(node)] = f"how often {node.op_type} runs is not known before it runs; counted once"
        before, self._runs = self._runs, self._runs * (1 if trips is None else trips)
        body = node.attributes["body"].as_graph()
        inner = replace(scope, known={**scope.known, **dict(zip(body.inputs, given, strict=False))}, main=False)
        made = self._graph(body, inner)[node.op_type == "Loop" :]  # whether a loop goes on is not given out
        self._runs = before
        stacked = [
            replace(one, shape=None if trips is None or one.shape is None else (trips, *one.shape), value=None)
            for one in made[states:]
        ]
        return [*(replace(one, value=None) for one in made[:states]), *stacked]


_CONTROL: Mapping[str, Callable[[_Walker, ir.Node, _Scope], Sequence[Tensor]]] = {
    "If": _Walker._if,
    "Loop": _Walker._loop,
    "Scan": _Walker._scan,
}


def _bound(spec: TensorSpec, bucket: Shape) -> Dims:
    free = [dim for dim in spec.shape if isinstance(dim, str) and dim not in bucket.sizes]
    if free:
        raise UsageError(
            f"The bucket gives no size to a free dim of input {spec.name!r}.",
            got=", ".join(free),
            allowed=", ".join(bucket.sizes),
            do="name the graph's batch and length dims in the bucket, or export it with these free dims only",
        )
    return spec.at(bucket)


def _weight(value: ir.Value) -> Tensor:
    if value.const_value is None:
        return Tensor(str(value.name), value.dtype or ir.DataType.UNDEFINED, None, weight=True)
    return _held(str(value.name), value.const_value)


def _held(name: str, tensor: ir.TensorProtocol) -> Tensor:
    shape = tuple(tensor.shape.numpy())
    return Tensor(name, tensor.dtype, shape, tensor.numpy() if is_small(shape) else None, weight=True)


def _constant(node: ir.Node, proto: onnx.NodeProto, scope: _Scope) -> Tensor:
    tensor = ir.convenience.get_const_tensor(node.outputs[0])
    if tensor is None:  # its value is an attribute of the function's call
        made = Tensor(_name(node), ir.DataType.UNDEFINED, None)
        found = evaluate(Step(proto, made.name, "Constant", "", (), (made,)), [made], scope.opsets)
        array = np.zeros(0, np.float32) if found is None else found[0]
        return Tensor(made.name, ir.DataType.from_numpy(array.dtype), array.shape, array, weight=True)
    return _held(_name(node), tensor)


def _resolved(node: ir.Node, attributes: Mapping[str, onnx.AttributeProto]) -> onnx.NodeProto:
    """The node as onnx has it, with the attributes of the function's call in place; subgraphs are left out."""
    proto = onnx.NodeProto(
        op_type=node.op_type,
        domain=node.domain,
        name=node.name or "",
        input=["" if value is None else str(value.name) for value in node.inputs],
        output=[str(value.name or "") for value in node.outputs],
    )
    for attribute in node.attributes.values():
        if attribute.is_ref():
            passed = attributes.get(str(attribute.ref_attr_name))
            if passed is not None:
                proto.attribute.add().CopyFrom(passed)
                proto.attribute[-1].name = attribute.name
        elif attribute.type not in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS):
            proto.attribute.append(ir.to_proto(attribute))
    return proto


def _without(shape: Dims, axis: int) -> Dims:
    axis %= len(shape)
    return shape[:axis] + shape[axis + 1 :]


def _name(node: ir.Node) -> str:
    return next((value.name for value in node.outputs if value.name), node.name or "")


def _module(node: ir.Node, scope: _Scope) -> str:
    """The node's module. A function was made of one layer; its call says which layer is meant."""
    own = weights.node_module(node)
    if scope.call is None:
        return own
    parts, call = own.split("."), scope.call.split(".")
    same = len(parts) >= len(call) and all(
        mine == theirs or (mine.isdigit() and theirs.isdigit()) for mine, theirs in zip(parts, call, strict=False)
    )
    return ".".join([*call, *parts[len(call) :]]) if same else own or scope.call
