"""Makes one operator of a decoder's attention over caches of blocks, with all rows' tokens in one sequence."""

from __future__ import annotations

import onnx_ir as ir

from QEfficient.onnx_transforms import match, new_values
from QEfficient.onnx_transforms.cached_layers import CachedLayer, cached_layers
from QEfficient.onnx_transforms.layer_values import by_token, give_result
from QEfficient.records import BATCH_INDEX, INPUT_IDS, POSITION_IDS
from QEfficient.records.paged import BLOCK, LOGIT_ROWS, PAGED_ATTENTION, PAGED_DOMAIN, PAGED_INPUTS

TOKENS = (INPUT_IDS, POSITION_IDS)
_PICKS = {"GatherElements": ("axis", 1), "GatherND": ("batch_dims", 1)}  # the attribute that says: of each row
_SCALARS = frozenset({"max_context_len"})


class PageAttention(ir.passes.InPlacePass):
    """Makes one operator of each layer's attention, whose caches are blocks of :data:`BLOCK` positions.

    All rows' tokens stand in one sequence, and no row is padded: what tells rows apart are further inputs
    (``records.paged``), which only the operator reads. The sequence stands along the first axis, ``(tokens, 1)``, where
    to put heads before tokens moves nothing. Logits are those of the tokens that :data:`LOGIT_ROWS` names. A cache
    keeps its name and is ``(blocks, shared heads, BLOCK, width)``; it is written where it stands, so that the logits
    are the graph's only output.

    That is done where every cache is one of all positions whose attention :func:`cached_layers` finds, without a soft
    cap, and the last tokens' states are picked by one node. Else nothing is.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Changes ``model`` in place."""
        layers, pick = list(cached_layers(model)), _pick(model.graph)
        fits = pick is not None and _are_all(layers, model.graph)
        if pick is not None and fits:
            _page(model, layers, pick)
        return ir.passes.PassResult(model, modified=fits)


def reads_rows(graph: ir.Graph) -> bool:
    """Whether a graph still asks for a row what one sequence of all tokens does not tell, once dead code is gone."""
    known = {*TOKENS, LOGIT_ROWS, *PAGED_INPUTS}
    others = [user for value in graph.inputs if value.name not in known for user, _ in value.uses()]
    if any((user.domain, user.op_type) != (PAGED_DOMAIN, PAGED_ATTENTION) for user in others):
        return True
    return any(_sums_up(value) for value in graph.inputs if value.name == POSITION_IDS)


def _sums_up(positions: ir.Value) -> bool:
    """Whether one number is made of several positions, as a row's largest, before numbers are looked up by them."""
    waiting, seen = [positions], {positions}
    while waiting:
        for user, _ in waiting.pop().uses():
            if user.domain or user.op_type.startswith(("Reduce", "Arg", "Cum", "TopK", "NonZero")):
                return True
            if user.op_type not in ("Shape", "Gather", "GatherND", "GatherElements"):
                waiting += [value for value in user.outputs if value not in seen]
                seen.update(user.outputs)
    return False


def _are_all(layers: list[CachedLayer], graph: ir.Graph) -> bool:
    """Whether these layers have all the state, and can be had from the operator."""
    caches = [cache for layer in layers for cache in (layer.key, layer.value)]
    outputs = {id(value) for value in graph.outputs}
    states = [value for value in graph.inputs if value.shape is not None and len(value.shape) == 4]
    whole = {id(cache.before) for cache in caches} == {id(value) for value in states}
    logits = outputs - {id(cache.after) for cache in caches}
    return bool(layers) and whole and len(logits) == 1 and all(layer.softcap is None for layer in layers)


def _pick(graph: ir.Graph) -> ir.Node | None:
    """The one node that picks the states behind each row's last tokens, ``(batch, length, width)`` → fewer of them."""
    found = []
    for node in graph:
        attribute, wanted = _PICKS.get(node.op_type, ("", 0))
        if node.domain or not attribute or node.attributes.get_int(attribute, 0) != wanted or node.inputs[0] is None:
            continue
        before, after = node.inputs[0].shape, node.outputs[0].shape
        if before is not None and len(before) == 3 and (after is None or not match.same(before, after)):
            found.append(node)
    return found[0] if len(found) == 1 else None


def _page(model: ir.Model, layers: list[CachedLayer], pick: ir.Node) -> None:
    graph, names = model.graph, new_values.Names(model)
    told = [_input(name, ir.DataType.INT32, [] if name in _SCALARS else [f"{name}_size"]) for name in PAGED_INPUTS]
    rows = _input(LOGIT_ROWS, ir.DataType.INT64, ["logits_asked"])
    for layer in layers:
        _page_layer(layer, told, graph, names)
    picked = ir.Value(name=names.new("picked_states"), type=pick.outputs[0].type)
    pick.append(ir.node("Gather", [pick.inputs[0], rows], {"axis": 0}, outputs=[picked], name=f"node_{picked.name}"))
    pick.outputs[0].replace_all_uses_with(picked)
    _count_rows_of_ids(graph)
    graph.inputs.extend([*told, rows])
    graph.opset_imports[PAGED_DOMAIN] = 1
    for value in graph.inputs:
        if value.name in TOKENS:
            value.shape = ir.Shape(["tokens", 1])
    [logits] = graph.outputs
    logits.shape = ir.Shape(["logits_asked", 1, *list(logits.shape or ())[2:]])


def _page_layer(layer: CachedLayer, told: list[ir.Value], graph: ir.Graph, names: new_values.Names) -> None:
    last = layer.result.producer()
    assert last is not None
    states = [by_token(value, last, graph, names) for value in (layer.query, layer.key.new, layer.value.new)]
    for cache in (layer.key, layer.value):
        cache.before.shape = ir.Shape(["blocks", layer.shared_heads, BLOCK, layer.width])
        graph.outputs.remove(cache.after)
    attributes: dict[str, int | float] = {"num_heads": layer.heads, "kv_num_heads": layer.shared_heads}
    attributes |= {"scale": layer.scale, "window": layer.window or 0}
    name = names.new(f"{layer.result.name}_attention")
    sizes = [*list(layer.result.shape or ())[:2], layer.heads * layer.width]
    joined = ir.Value(name=name, type=layer.result.type, shape=ir.Shape(sizes))
    inputs = [*states, layer.key.before, layer.value.before, *told]
    node = ir.node(PAGED_ATTENTION, inputs, attributes, domain=PAGED_DOMAIN, outputs=[joined], name=name)
    node.metadata_props.update(last.metadata_props)
    last.prepend(node)
    give_result(layer, joined, graph, names)


def _count_rows_of_ids(graph: ir.Graph) -> None:
    """Lets the rows be counted of the ids, where that is all that the slots' input is asked."""
    given = {str(value.name): value for value in graph.inputs}
    for node, _ in list(given[BATCH_INDEX].uses()) if BATCH_INDEX in given else ():
        first = node.attributes.get_int("start", 0) == 0 and node.attributes.get_int("end", None) == 1
        if match.is_a(node, "Shape") and first:
            node.replace_input_with(0, given[INPUT_IDS])


def _input(name: str, kind: ir.DataType, shape: list[str]) -> ir.Value:
    return ir.Value(name=name, type=ir.TensorType(kind), shape=ir.Shape(shape))
