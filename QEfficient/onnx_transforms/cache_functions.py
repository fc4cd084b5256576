"""What the nodes that write and read a decoder's caches do, as ONNX functions of standard operators.

The card's compiler may know the nodes by their names; any other runtime runs the bodies. ``position_ids`` below 0 or
beyond the cache are writes to drop. The card ignores them; runtimes differ in what they do with such an index
(onnxruntime fails, OpenVINO ignores it), so the bodies send them to where nothing is read: with slots to the last one,
the scratch slot, and else to the last position of the row's own cache.
"""

from __future__ import annotations

import onnx
import onnx_ir as ir

from QEfficient.onnx_transforms import weights

DOMAIN = "com.qualcomm.cloud"
VERSION = 1

_HEAD = f'<opset_import: ["" : 18], domain: "{DOMAIN}">'
_SIZES = """
    zero = Constant <value = int64 {0}> ()
    one = Constant <value = int64 {1}> ()
    first_axis = Constant <value_ints = [0]> ()
    second_axis = Constant <value_ints = [1]> ()
    last_axis = Constant <value_ints = [-1]> ()
    head_axes = Constant <value_ints = [0, 2]> ()
    slot_count = Shape <start = 0, end = 1> (data)
    heads = Shape <start = 1, end = 2> (data)
    length = Shape <start = 2, end = 3> (data)
"""
_DROPPED = """
    early = Less (position_ids, zero)
    late = GreaterOrEqual (position_ids, length)
    dropped = Or (early, late)
"""
_ROW_NUMBERS = """
    rows = Shape <start = 0, end = 1> (data)
    row_count = Squeeze (rows)
    row_numbers = Range (zero, row_count, one)
    slots = Unsqueeze (row_numbers, second_axis)
"""
# Slots (rows, 1 or length) and places (rows, length) → a triple of slot, head and place for each width of a head.
_TRIPLES = """
    row_slots = Unsqueeze (slots, second_axis)
    row_places = Unsqueeze (places, second_axis)
    head_count = Squeeze (heads)
    head_numbers = Range (zero, head_count, one)
    each_head = Unsqueeze (head_numbers, head_axes)
    some = Add (row_slots, row_places)
    all = Add (some, each_head)
    size = Shape (all)
    spread_slots = Expand (row_slots, size)
    spread_heads = Expand (each_head, size)
    spread_places = Expand (row_places, size)
    slot_column = Unsqueeze (spread_slots, last_axis)
    head_column = Unsqueeze (spread_heads, last_axis)
    place_column = Unsqueeze (spread_places, last_axis)
    indices = Concat <axis = -1> (slot_column, head_column, place_column)
"""
_WRITE = "    output = ScatterND (data, indices, updates)\n"
_READ = "    output = GatherND (data, indices)\n"

_BODIES = {
    "CtxScatterCB (data, batch_index, position_ids, updates)": (
        _SIZES,
        _DROPPED,
        "    scratch = Sub (slot_count, one)\n",
        "    slots = Where (dropped, scratch, batch_index)\n",
        "    places = Where (dropped, zero, position_ids)\n",
        _TRIPLES,
        _WRITE,
    ),
    "CtxScatter (data, position_ids, updates)": (
        _SIZES,
        _DROPPED,
        _ROW_NUMBERS,
        "    free_place = Sub (length, one)\n",
        "    places = Where (dropped, free_place, position_ids)\n",
        _TRIPLES,
        _WRITE,
    ),
    "CtxGatherCB (data, batch_index, ctx_indices)": (
        _SIZES,
        "    slots = Identity (batch_index)\n",
        "    places = Identity (ctx_indices)\n",
        _TRIPLES,
        _READ,
    ),
    "CtxGather (data, ctx_indices)": (
        _SIZES,
        _ROW_NUMBERS,
        "    places = Identity (ctx_indices)\n",
        _TRIPLES,
        _READ,
    ),
}


def functions() -> dict[str, ir.Function]:
    """Name → function, of all that there are."""
    texts = (f"{_HEAD}\n{head} => (output) {{\n{''.join(body)}}}" for head, body in _BODIES.items())
    made = (ir.serde.deserialize_function(onnx.parser.parse_function(text)) for text in texts)
    return {one.name: one for one in made}


class CacheFunctions(ir.passes.InPlacePass):
    """Adds the functions that the graph calls. Run it last: other passes need not look into them."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Changes ``model`` in place."""
        known = functions()
        called = {node.op_type for node in weights.nodes(model) if node.domain == DOMAIN}
        for name in sorted(called):
            model.functions[known[name].identifier()] = known[name]
        if called:
            model.graph.opset_imports[DOMAIN] = VERSION
        return ir.passes.PassResult(model, modified=bool(called))
