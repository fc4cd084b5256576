"""Leaves out what is computed of tokens that nobody reads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from QEfficient.onnx_transforms import match, new_values

_OF_ONE = frozenset("Abs Cast Clip Elu Erf Exp Gelu Identity LeakyRelu Neg Relu Sigmoid Softplus Sqrt Tanh".split())
_OF_MANY = frozenset("Add Div Max Min Mul Pow Sub Where".split())
_Use = tuple[ir.Node, int]


class OnlyFirstToken(ir.passes.InPlacePass):
    """Computes a model's last layer for its first token alone, where a head reads no other.

    BERT's pooler and most classifiers take the first token of the last layer. Its attention still needs every token's
    keys and values, but no other token's query, projection or feed-forward layer: of six layers that is a seventh of
    all products, and a model with a pooler is 1.11 to 1.18 times as fast (``benchmarks/rewrites.py``). Each number that
    is still computed has the same formula as before.

    The pass starts at ``Gather(states, 0)`` along dim 1 and walks up: a node whose every reader wants the first token
    only, and that treats the tokens of one of its dims apart, wants no more of its own inputs. Where that ends, a
    ``Slice`` takes the first token. Nothing changes unless a matrix product becomes smaller.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Changes ``model`` in place."""
        plan = _plan(model.graph) if match.modern(model) else _Plan()
        if not any(step.node.op_type == "MatMul" for step in plan.steps):
            return ir.passes.PassResult(model, modified=False)
        names = new_values.Names(model)
        for step in plan.steps:
            _narrow(model.graph, step, names)
        for value, dim, uses in plan.cuts():
            _slice(model.graph, value, dim, uses, names)
        return ir.passes.PassResult(model, modified=True)


@dataclass(frozen=True)
class _Step:
    """A node whose result gets size 1 along a dim."""

    node: ir.Node
    dim: int


@dataclass
class _Plan:
    """What is to be narrowed.

    Attributes:
        steps: Nodes, the last one first.
        wanted: Value → the uses of it that want its first token only, and along which dim.
    """

    steps: list[_Step] = field(default_factory=list)
    wanted: dict[ir.Value, dict[_Use, int]] = field(default_factory=dict)

    def want(self, node: ir.Node, place: int, dim: int) -> None:
        """Notes that a node reads the first token of its input only."""
        value = node.inputs[place]
        assert value is not None
        self.wanted.setdefault(value, {})[node, place] = dim

    def cuts(self) -> Iterator[tuple[ir.Value, int, list[_Use]]]:
        """Each value that stays whole, and the uses of it that want one token along a dim."""
        narrowed = {step.node for step in self.steps}
        for value, uses in self.wanted.items():
            if value.producer() in narrowed:
                continue
            for dim in sorted(set(uses.values())):
                chosen = [use for use, wanted in uses.items() if wanted == dim and use[0] in narrowed]
                if chosen:
                    yield value, dim, chosen


def _plan(graph: ir.Graph) -> _Plan:
    plan = _Plan()
    for node in reversed(graph):  # readers before what they read
        if _takes_first_token(node):
            plan.want(node, 0, 1)
            continue
        dim = _common_dim(plan, node)
        places = _places(node, dim) if dim is not None else None
        if dim is not None and places is not None:
            plan.steps.append(_Step(node, dim))
            for place, inner in places.items():
                plan.want(node, place, inner)
    return plan


def _takes_first_token(node: ir.Node) -> bool:
    """Whether a node is ``Gather(states, 0)`` along dim 1 of three."""
    if not match.is_a(node, "Gather") or node.attributes.get_int("axis", 0) != 1 or match.scalar(node.inputs[1]) != 0:
        return False
    states = node.inputs[0]
    return states is not None and states.shape is not None and len(states.shape) == 3 and states.producer() is not None


def _common_dim(plan: _Plan, node: ir.Node) -> int | None:
    """The dim along which every reader of a node's result wants the first token only."""
    if node.domain != "" or len(node.outputs) != 1 or node.outputs[0].is_graph_output():
        return None
    value = node.outputs[0]
    wanted = plan.wanted.get(value, {})
    if len(set(wanted.values())) != 1 or set(value.uses()) != set(wanted) or value.shape is None:
        return None
    dim = next(iter(wanted.values()))
    return dim if value.shape[dim] != 1 else None


def _places(node: ir.Node, dim: int) -> dict[int, int] | None:
    """Which inputs, along which dims, a result of size 1 along ``dim`` needs no more of; ``None``: it needs all."""
    shape, inputs = node.outputs[0].shape, [value.shape if value is not None else None for value in node.inputs]
    if shape is None or not inputs or inputs[0] is None:
        return None
    rank, first = len(shape), inputs[0]
    if node.op_type in _OF_ONE:
        return {0: dim}
    if node.op_type in _OF_MANY:
        return _broadcast(inputs, rank, dim)
    if node.op_type in ("LayerNormalization", "Softmax"):
        axis = node.attributes.get_int("axis", -1) % rank
        if node.op_type == "Softmax":
            return {0: dim} if dim != axis else None
        gains = [size is not None and len(size) <= rank - axis for size in inputs[1:]]  # none for each token
        return {0: dim} if dim < axis and all(gains) else None
    if node.op_type == "MatMul":
        second = inputs[1]
        matrices = second is not None and min(len(first), len(second)) > 1
        return {0: len(first) - 2} if matrices and dim == rank - 2 else None
    if node.op_type == "Transpose":
        perm = match.perm(node)
        return {0: perm[dim]} if perm else None
    if node.op_type == "Reshape":
        kept = match.same(shape[: dim + 1], first[: dim + 1])
        return {0: dim} if kept and all(isinstance(size, int) for size in shape[dim + 1 :]) else None
    return None


def _broadcast(shapes: list[ir.Shape | None], rank: int, dim: int) -> dict[int, int] | None:
    """Those inputs that are not repeated along the dim."""
    found = {}
    for place, shape in enumerate(shapes):
        if shape is None:
            return None
        inner = dim - (rank - len(shape))
        if inner >= 0 and shape[inner] != 1:
            found[place] = inner
    return found


def _narrow(graph: ir.Graph, step: _Step, names: new_values.Names) -> None:
    """Sets the result's new shape, and with ``Reshape`` the sizes that it is told."""
    value = step.node.outputs[0]
    assert value.shape is not None
    sizes = [1 if dim == step.dim else size for dim, size in enumerate(value.shape)]
    value.shape = ir.Shape(sizes)
    if step.node.op_type == "Reshape":
        # 0: as it is
        told = [size if isinstance(size, int) and dim > step.dim else 0 for dim, size in enumerate(sizes)]
        constant = new_values.constant(np.array(told, np.int64), names.new(f"{value.name}_sizes"))
        graph.insert_before(step.node, constant)
        step.node.replace_input_with(1, constant.outputs[0])
        step.node.attributes.pop("allowzero", None)


def _slice(graph: ir.Graph, value: ir.Value, dim: int, uses: Sequence[_Use], names: new_values.Names) -> None:
    """Takes the first token of a value that is computed for all."""
    name = names.new(f"{value.name}_first")
    bounds = [
        new_values.constant(np.array([number], np.int64), names.new(f"{name}_{what}"))
        for what, number in (("start", 0), ("end", 1), ("dim", dim))
    ]
    cut = ir.Value(name=name, type=value.type)
    cut.shape = ir.Shape([1 if place == dim else size for place, size in enumerate(value.shape or ())])
    node = ir.node("Slice", [value, *(one.outputs[0] for one in bounds)], outputs=[cut], name=f"node_{name}")
    node.metadata_props.update(uses[0][0].metadata_props)
    new_values.behind(value, graph, [*bounds, node])
    for reader, place in uses:
        reader.replace_input_with(place, cut)
