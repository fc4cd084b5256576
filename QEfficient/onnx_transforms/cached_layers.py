"""Finds the attention over caches of all positions in a decoder's graph, as this library exports it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import onnx_ir as ir

from QEfficient.onnx_transforms import match
from QEfficient.onnx_transforms.cache_functions import DOMAIN
from QEfficient.onnx_transforms.formulas import formula
from QEfficient.records import BATCH_INDEX

FIT = 8
"""Widths of a head that onnxruntime's operator takes are multiples of it."""

Sizes = Iterable[int | ir.SymbolicDimProtocol]

_HEADS_FIRST, _KEYS_TURNED = [0, 2, 1, 3], [0, 1, 3, 2]
_HIDDEN = -1e4  # a score that is so much lower than another has a weight of exactly 0
_KEYS, _QUERIES = "Unsqueeze(Unsqueeze(Range(0,{length},1),[0]),[1])", "Unsqueeze(position_ids,[2])"
_SEEN = f"LessOrEqual({_KEYS},{_QUERIES})"
_WINDOW = f"Greater({_KEYS},Sub({_QUERIES},"
_READ = "Min(Unsqueeze(Range(0,{length},1),[0]),Clip(ReduceMax(position_ids,[1]),0,Sub({length},1)))"
_WRITTEN = "Where(And(GreaterOrEqual(position_ids,0),Less(position_ids,{length})),position_ids,2147483647)"
_SLOT = "Where(And(GreaterOrEqual(batch_index,0),Less(batch_index,Sub({slots},1))),batch_index,Sub({slots},1))"


@dataclass(frozen=True)
class CacheUse:
    """A cache of keys or values.

    Attributes:
        before: The graph's input, ``(slots, shared heads, positions, width)``.
        new: What is written into it, ``(batch, shared heads, length, width)``.
        after: The graph's output.
    """

    before: ir.Value
    new: ir.Value
    after: ir.Value


@dataclass(frozen=True)
class CachedLayer:
    """One layer's attention.

    Attributes:
        query: ``(batch, heads, length, width)``.
        key, value: What it attends to.
        scale: Of the scores.
        softcap: Of the scores after that; ``None``: there is none.
        window: Keys that a token sees, its own with them; ``None``: all.
        result: ``(batch, length, heads, width)``.
    """

    query: ir.Value
    key: CacheUse
    value: CacheUse
    scale: float
    softcap: float | None
    window: int | None
    result: ir.Value

    @property
    def heads(self) -> int:
        """Of the queries."""
        return _size(self.query, 1)

    @property
    def shared_heads(self) -> int:
        """Of keys and values."""
        return _size(self.key.before, 1)

    @property
    def width(self) -> int:
        """Of a head."""
        return _size(self.query, 3)


def cached_layers(model: ir.Model) -> Iterator[CachedLayer]:
    """Every layer whose attention is of the form that one operator can do, in the graph's order."""
    if match.modern(model):
        for node in model.graph:
            if match.is_a(node, "Softmax") and (found := _layer(node)) is not None:
                yield found


def slots_are_counted(model: ir.Model) -> bool:
    """Whether a graph that is addressed by slots uses their number for more than which slot a row has."""
    if all(value.name != BATCH_INDEX for value in model.graph.inputs):
        return False
    waiting = []
    for value in model.graph.inputs:
        for node, _ in value.uses() if str(value.name).startswith("past_") else ():
            start, end = node.attributes.get_int("start", 0), node.attributes.get_int("end", None)
            if match.is_a(node, "Shape") and not start:
                if end != 1:
                    return True
                waiting.append(node)
    while waiting:
        for user, place in waiting.pop().outputs[0].uses():
            if user.domain == DOMAIN and place == 1:
                continue
            if user.domain or user.op_type not in ("Squeeze", "Sub", "Less", "And", "Where"):
                return True
            waiting.append(user)
    return False


def _layer(softmax: ir.Node) -> CachedLayer | None:
    behind = match.only_users(softmax.outputs[0], "Reshape", "MatMul", "Reshape", "Transpose")
    for split, spread in match.both_ways(match.made_by(softmax.inputs[0], "Add")):
        by_head, mask = match.made_by(split, "Reshape"), match.made_by(spread, "Unsqueeze", shared=True)
        if not behind or by_head is None or mask is None or formula(mask.inputs[1]) != "[2]":
            continue
        scores, softcap = _uncapped(by_head.inputs[0])
        product, scale = _unscaled(scores)
        turned = match.made_by(product.inputs[1], "Transpose") if product is not None else None
        if product is None or turned is None or match.perm(turned) != _KEYS_TURNED:
            return None
        key, value = _cache(turned.inputs[0]), _cache(behind[1].inputs[1])
        query = _query(product.inputs[0], key)
        window = _window(mask.inputs[0], key)
        if key is None or value is None or query is None or window is None or scale is None:
            return None
        layer = CachedLayer(query, key, value, scale, softcap, window or None, behind[-1].outputs[0])
        return layer if _fits(layer, softmax, behind, product, by_head) else None
    return None


def _uncapped(value: ir.Value | None) -> tuple[ir.Value | None, float | None]:
    """Scores before a soft cap ``tanh(scores / cap) · cap``, and the cap."""
    for tanh, cap in match.both_ways(match.made_by(value, "Mul")):
        number, bent = match.scalar(cap), match.made_by(tanh, "Tanh")
        divided = match.made_by(bent.inputs[0], "Div") if bent is not None else None
        if number is not None and divided is not None and match.scalar(divided.inputs[1]) == number:
            return divided.inputs[0], number
    return value, None


def _unscaled(value: ir.Value | None) -> tuple[ir.Node | None, float | None]:
    """The product that scores are, and what it was multiplied by."""
    for scores, factor in match.both_ways(match.made_by(value, "Mul")):
        product, number = match.made_by(scores, "MatMul"), match.scalar(factor)
        if product is not None and number is not None and number > 0:
            return product, number
    return None, None


def _query(rows: ir.Value | None, key: CacheUse | None) -> ir.Value | None:
    """The queries by head: heads that share one of the keys' are rows of one product."""
    if rows is None or key is None:
        return None
    grouped = match.made_by(rows, "Reshape")
    if grouped is not None and grouped.inputs[0] is not None and len(grouped.inputs[0].shape or ()) == 4:
        return grouped.inputs[0]
    return rows if _size(rows, 1) == _size(key.before, 1) else None


def _cache(value: ir.Value | None) -> CacheUse | None:
    """The cache whose positions up to each row's last one a value is, after a chunk was written there."""
    alone = value is not None and len(value.uses()) == 1 and not value.is_graph_output()
    gather = value.producer() if value is not None and alone else None
    state = gather.inputs[0] if gather is not None else None
    scatter = state.producer() if state is not None else None
    if gather is None or state is None or scatter is None or {gather.domain, scatter.domain} != {DOMAIN}:
        return None
    kinds = (gather.op_type, scatter.op_type)
    if kinds not in (("CtxGather", "CtxScatter"), ("CtxGatherCB", "CtxScatterCB")) or len(state.uses()) != 1:
        return None
    before, new = scatter.inputs[0], scatter.inputs[-1]
    if before is None or new is None or not before.is_graph_input() or not state.is_graph_output():
        return None
    others = [user for user, _ in before.uses() if user is not scatter]
    if before.dtype != ir.DataType.FLOAT or any(not match.is_a(user, "Shape") for user in others):
        return None
    slots, length = (f"#{dim}" for dim in (before.shape[0], before.shape[2]))  # type: ignore[index]
    indices = [formula(one) for one in (*gather.inputs[1:], *scatter.inputs[1:-1])]
    slot = [_SLOT.format(slots=slots)] if len(gather.inputs) == 3 else []
    wanted = [*slot, _READ.format(length=length), *slot, _WRITTEN.format(length=length)]
    return CacheUse(before, new, state) if indices == wanted else None


def _window(mask: ir.Value | None, key: CacheUse | None) -> int | None:
    """Keys that a mask shows to a token, the last ones up to its own; 0: all of them; ``None``: it is another mask."""
    if key is None:
        return None
    length = f"#{key.before.shape[2]}"  # type: ignore[index]
    seen, inside = (re.escape(one.format(length=length)) for one in (_SEEN, _WINDOW))
    form = rf"Mul\(Unsqueeze\(Sub\(1,Cast<to=1>\((?:{seen}|And\({seen},{inside}(\d+)\)\)\))\)\),\[1\]\),(-.+)\)"
    found = re.fullmatch(form, formula(mask))
    return int(found.group(1) or 0) if found is not None and float(found.group(2)) <= _HIDDEN else None


def _fits(layer: CachedLayer, softmax: ir.Node, behind: list[ir.Node], product: ir.Node, by_head: ir.Node) -> bool:
    """Whether every value in between has the sizes that it must have."""
    new, query = layer.key.new.shape, layer.query.shape
    if new is None or query is None or len(new) != 4 or len(query) != 4 or layer.width % FIT:
        return False
    batch, length, (shared, width), heads = new[0], new[2], (layer.shared_heads, layer.width), layer.heads
    if not shared or heads % shared or softmax.attributes.get_int("axis", -1) not in (-1, 4):
        return False
    weights, mixed, by_heads, turned = (node.outputs[0].shape for node in behind)
    caches = [cache.before.shape for cache in (layer.key, layer.value)]
    sizes: tuple[tuple[Sizes | None, Sizes], ...] = (
        (list(new), [batch, shared, length, width]),
        (layer.value.new.shape, [batch, shared, length, width]),
        (query, [batch, heads, length, width]),
        (_part(product.inputs[0], 0, 1, 3), [batch, shared, width]),
        (_part(by_head.outputs[0], 0, 1, 2, 3), [batch, shared, heads // shared, length]),
        (None if weights is None else weights[:2], [batch, shared]),
        (None if mixed is None else [*mixed[:2], mixed[3]], [batch, shared, width]),
        (by_heads, [batch, heads, length, width]),
        (turned, [batch, length, heads, width]),
        *((None if one is None else [one[1], one[3]], [shared, width]) for one in caches),
    )
    right = all(found is not None and match.same(found, wanted) for found, wanted in sizes)
    return right and behind[1].inputs[0] is behind[0].outputs[0] and match.perm(behind[3]) == _HEADS_FIRST


def _part(value: ir.Value | None, *axes: int) -> Sizes | None:
    shape = value.shape if value is not None else None
    return [shape[axis] for axis in axes] if shape is not None and len(shape) > max(axes) else None


def _size(value: ir.Value, axis: int) -> int:
    """A size of a value; 0 where it is no number."""
    found = value.shape[axis] if value.shape is not None and len(value.shape) > axis else 0
    return found if isinstance(found, int) else 0
