"""Makes one operator of self-attention, for onnxruntime."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from QEfficient.onnx_transforms import match, new_values, weights

DOMAIN = "com.microsoft"
_HEADS_FIRST, _KEYS_TURNED = [0, 2, 1, 3], [0, 2, 3, 1]


class JoinAttention(ir.passes.InPlacePass):
    """Makes one operator of self-attention: onnxruntime's ``Attention``, in place of 14 nodes.

    It multiplies the states with the weights of queries, keys and values a head at a time, and leaves each where the
    next product reads it. With ``MoveBiases`` before it MiniLM is 1.09 to 1.13 times as fast with one short text, and
    1.02 to 1.06 times in batches; ``benchmarks/rewrites.py`` compares them. onnxruntime itself joins graphs of opset 13
    and less only.

    What is joined is what ``pytorch_transforms.bert.attend`` exports: three projections with a bias of the same states,
    queries scaled in their weights, a mask ``(1 - attention_mask) · lowest``, and maybe relative positions before it.
    The weights are concatenated in the graph, which onnxruntime does once, when it loads it.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Changes ``model`` in place."""
        names, masks = new_values.Names(model), dict[str | None, ir.Value]()
        modified = False
        for node in list(model.graph) if match.modern(model) else ():
            if node.op_type == "Softmax" and (found := _found(node)) is not None:
                _join(model.graph, found, masks, names)
                modified = True
        if modified:
            model.graph.opset_imports[DOMAIN] = 1
        return ir.passes.PassResult(model, modified=modified)


@dataclass(frozen=True)
class _Projection:
    """``states · weight + bias``, seen as heads."""

    states: ir.Value
    weight: ir.Value
    bias: ir.Value
    heads: int
    width: int

    @property
    def size(self) -> int:
        """Of all heads together."""
        return self.heads * self.width


@dataclass(frozen=True)
class _Mask:
    """``(1 - mask) · lowest`` over (batch, 1, 1, length)."""

    mask: ir.Value
    lowest: float


@dataclass(frozen=True)
class _SelfAttention:
    """What one layer's attention reads, and the value that it makes."""

    projections: tuple[_Projection, _Projection, _Projection]
    mask: _Mask
    positions: ir.Value | None
    result: ir.Value


def _found(softmax: ir.Node) -> _SelfAttention | None:
    """The attention around a soft-max, if it is of the form that can be joined."""
    mask = match.sum_with(softmax.inputs[0], _mask)
    if mask is None or softmax.attributes.get_int("axis", -1) not in (-1, 3):
        return None
    logits, positions = match.made_by(mask[1], "MatMul"), None
    if logits is None:
        biased = match.sum_with(mask[1], lambda value: match.made_by(value, "MatMul"))
        if biased is None:
            return None
        logits, positions = biased
    behind = match.only_users(softmax.outputs[0], "MatMul", "Transpose", "Reshape")
    if not behind or behind[0].inputs[0] is not softmax.outputs[0]:
        return None
    mixed, turned, joined = behind
    query = _projection(logits.inputs[0], _HEADS_FIRST)
    key = _projection(logits.inputs[1], _KEYS_TURNED)
    value = _projection(mixed.inputs[1], _HEADS_FIRST)
    if query is None or key is None or value is None or match.perm(turned) != _HEADS_FIRST:
        return None
    alike = {(id(one.states), one.heads, one.width) for one in (query, key, value)}
    states, result = query.states.shape, joined.outputs[0]
    if len(alike) != 1 or states is None or result.shape is None or result.is_graph_output():
        return None
    sizes = mask[0].mask.shape
    if sizes is None or not match.same(sizes, states[:2]) or not match.same(result.shape, [*sizes, query.size]):
        return None
    if positions is not None and not _is_square(positions, query):
        return None
    return _SelfAttention((query, key, value), mask[0], positions, result)


def _projection(value: ir.Value | None, perm: Sequence[int]) -> _Projection | None:
    """What is behind ``Transpose(Reshape(states · weight + bias))``."""
    turned = match.made_by(value, "Transpose")
    split = match.made_by(turned.inputs[0], "Reshape") if turned is not None else None
    if turned is None or split is None or match.perm(turned) != perm:
        return None
    biased = match.sum_with(split.inputs[0], _weight_of)
    shape, whole = split.outputs[0].shape, split.inputs[0].shape if split.inputs[0] is not None else None
    if biased is None or shape is None or whole is None or len(shape) != 4 or len(whole) != 3:
        return None
    (product, weight), bias = biased[0], biased[1]
    heads, width = shape[2], shape[3]
    if not isinstance(heads, int) or not isinstance(width, int) or not match.same(shape[:2], whole[:2]):
        return None
    states, found = product.inputs[0], weights.constant(weight)
    constant = weights.constant(bias)
    if states is None or found is None or constant is None or list(constant.shape) != [heads * width]:
        return None
    fits = found.dtype == constant.dtype == ir.DataType.FLOAT and list(found.shape)[1:] == [heads * width]
    return _Projection(states, weight, bias, heads, width) if fits else None


def _weight_of(value: ir.Value | None) -> tuple[ir.Node, ir.Value] | None:
    """The product that made a value, and the matrix on its right."""
    product = match.made_by(value, "MatMul")
    weight = product.inputs[1] if product is not None else None
    return (product, weight) if product is not None and weight is not None and match.is_matrix(weight) else None


def _mask(value: ir.Value | None) -> _Mask | None:
    """What is behind ``Mul(Sub(1, Cast(Unsqueeze(mask))), lowest)``; many layers share it."""
    for inverted, lowest in match.both_ways(match.made_by(value, "Mul", shared=True)):
        node, number = match.made_by(inverted, "Sub", shared=True), match.scalar(lowest)
        if node is None or number is None or match.scalar(node.inputs[0]) != 1.0:
            continue
        cast = match.made_by(node.inputs[1], "Cast", shared=True)
        spread = match.made_by(cast.inputs[0], "Unsqueeze", shared=True) if cast is not None else None
        mask = spread.inputs[0] if spread is not None else None
        shape = spread.outputs[0].shape if spread is not None else None
        if mask is None or shape is None or mask.shape is None or len(mask.shape) != 2 or not mask.is_graph_input():
            continue
        whole = mask.dtype is not None and not mask.dtype.is_floating_point()  # a fraction would be cut off
        if whole and match.same(shape, [mask.shape[0], 1, 1, mask.shape[1]]):
            return _Mask(mask, number)
    return None


def _is_square(positions: ir.Value, query: _Projection) -> bool:
    """Whether relative positions are (1 or batch, heads, length, length), which is what the operator takes."""
    shape, states = positions.shape, query.states.shape
    if shape is None or states is None or len(shape) != 4 or shape[0] not in (1, states[0]):
        return False
    return match.same(shape[1:], [query.heads, states[1], states[1]])


def _join(graph: ir.Graph, found: _SelfAttention, masks: dict[str | None, ir.Value], names: new_values.Names) -> None:
    """Puts the operator where the last node of the attention stood."""
    last = found.result.producer()
    assert last is not None and found.result.name is not None
    name, first = found.result.name, found.projections[0]
    mask = found.mask.mask
    if mask.name not in masks:  # before all that read it: it needs the graph's input only
        narrow = names.new(f"{mask.name}_int32")
        masks[mask.name] = new_values.insert(graph[0], "Cast", [mask], narrow, to=ir.DataType.INT32)
    matrices, vectors = [one.weight for one in found.projections], [one.bias for one in found.projections]
    weight = new_values.insert(last, "Concat", matrices, names.new(f"{name}_weight"), axis=1)
    bias = new_values.insert(last, "Concat", vectors, names.new(f"{name}_bias"), axis=0)
    inputs = [first.states, weight, bias, masks[mask.name], None, found.positions]
    joined = ir.node(
        "Attention",
        inputs if found.positions is not None else inputs[:4],
        {"num_heads": first.heads, "scale": 1.0, "mask_filter_value": found.mask.lowest},
        domain=DOMAIN,
        name=f"{name}_attention",
        outputs=[ir.Value(name=names.new(f"{name}_attention"), type=found.result.type, shape=found.result.shape)],
    )
    joined.metadata_props.update(last.metadata_props)
    graph.insert_before(last, joined)
    found.result.replace_all_uses_with(joined.outputs[0], replace_graph_outputs=True)
    graph.remove(last, safe=True)
