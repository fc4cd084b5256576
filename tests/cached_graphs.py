"""Decoders whose attention is as this library exports it, made by hand: for what passes find in them.

:func:`text` is a graph of one layer, with any of what a layer can have. :func:`make` is the decoder of
``tests/stateful_graphs.py`` in that form: the same forms, weights and reference.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Template

import numpy as np
import onnx
import onnx_ir as ir

from QEfficient.onnx_transforms.cache_functions import CacheFunctions
from QEfficient.records import OnnxModel
from tests import stateful_graphs
from tests.stateful_graphs import DIM, HEADS, LAYERS, PARTS, WIDTH, Form

HEAD = '<ir_version: 10, opset_import: ["" : 18, "com.qualcomm.cloud" : 1]>'
TABLE = 64
"""Positions that the rotary tables have."""


@dataclass(frozen=True)
class Layer:
    """What a layer's attention is like."""

    heads: int = 4
    shared: int = 2
    width: int = 16
    slots: bool = True
    window: int | None = None
    softcap: float | None = None
    rotary: bool = True
    scale: float = 0.25

    @property
    def state(self) -> str:
        """Type of a cache."""
        return f"float[{'full_batch_size' if self.slots else 'batch_size'}, {self.shared}, ctx_len, {self.width}]"


# A type behind # is that of the line's value.
CONSTANTS = f"""
i0 = Constant <value = int64 {{0}}> ()
i1 = Constant <value = int64 {{1}}> ()
nowhere = Constant <value = int64 {{2147483647}}> ()
last_row = Constant <value = int64 {{{TABLE - 1}}}> ()
a_1 = Constant <value = int64[1] {{-1}}> ()
a0 = Constant <value = int64[1] {{0}}> ()
a1 = Constant <value = int64[1] {{1}}> ()
a2 = Constant <value = int64[1] {{2}}> ()
a3 = Constant <value = int64[1] {{3}}> ()
end = Constant <value = int64[1] {{9223372036854775807}}> ()
f1 = Constant <value = float {{1.0}}> ()
fill = Constant <value = float {{-30000.0}}> ()
"""
SLOTS = """
slot_count = Shape <start = 0, end = 1> ("past_key.0")
slot_number = Squeeze (slot_count)
scratch = Sub (slot_number, i1)
slot_not_low = GreaterOrEqual (batch_index, i0)
slot_not_high = Less (batch_index, scratch)
slot_there = And (slot_not_low, slot_not_high)
slot = Where (slot_there, batch_index, scratch)
"""
PLACES = """
ctx_size = Shape <start = 2, end = 3> ("past_key.0")
ctx_number = Squeeze (ctx_size)
cache_positions = Range (i0, ctx_number, i1)
batch = Shape <start = 0, end = 1> (position_ids)
length = Shape <start = 1, end = 2> (position_ids)
real = GreaterOrEqual (position_ids, i0)
inside = Less (position_ids, ctx_number)
there = And (real, inside)
written = Where (there, position_ids, nowhere)
largest_place = ReduceMax (position_ids, a1)
final_place = Sub (ctx_number, i1)
reach = Clip (largest_place, i0, final_place)
keys = Unsqueeze (cache_positions, a0)
read = Min (keys, reach)
all_keys = Unsqueeze (keys, a1)
queries = Unsqueeze (position_ids, a2)
not_later = LessOrEqual (all_keys, queries)
"""
MASK = """
shown = Cast <to = 1> ($seen)
hidden_keys = Sub (f1, shown)
hidden_heads = Unsqueeze (hidden_keys, a1)
mask = Mul (hidden_heads, fill)
"""
WINDOW = """
window_size = Constant <value = int64 {$window}> ()
unseen = Sub (queries, window_size)
not_earlier = Greater (all_keys, unseen)
in_window = And (not_later, not_earlier)
"""
TABLES = """
known_places = Clip (position_ids, i0, last_row)
known_rows = Unsqueeze (known_places, a_1)
cos_rows = GatherND (cos_table, known_rows)
sin_rows = GatherND (sin_table, known_rows)
cos = Unsqueeze (cos_rows, a1)
sin = Unsqueeze (sin_rows, a1)
half = Constant <value = int64[1] {$half}> ()
"""
TURN = """
straight_$name = Mul (heads_$name, cos)
front_$name = Slice (heads_$name, a0, half, a3, a1)
rear_$name = Slice (heads_$name, half, end, a3, a1)
minus_$name = Neg (rear_$name)
crossed_$name = Concat <axis = -1> (minus_$name, front_$name)
across_$name = Mul (crossed_$name, sin)
turned_$name = Add (straight_$name, across_$name)  # float[batch_size, $count, seq_len, $width]
"""
ATTENTION = """
"past_key.${n}_RetainedState" = com.qualcomm.cloud.CtxScatterCB ("past_key.$n", slot, written, $key)
keys_$n = com.qualcomm.cloud.CtxGatherCB ("past_key.${n}_RetainedState", slot, read)
"past_value.${n}_RetainedState" = com.qualcomm.cloud.CtxScatterCB ("past_value.$n", slot, written, $value)
values_$n = com.qualcomm.cloud.CtxGatherCB ("past_value.${n}_RetainedState", slot, read)
shared_$n = Constant <value = int64[1] {$shared}> ()
grouped_$n = Constant <value = int64[1] {$group}> ()
wide_$n = Constant <value = int64[1] {$width}> ()
by_shared_$n = Concat <axis = 0> (batch, shared_$n, a_1, wide_$n)
rows_$n = Reshape ($query, by_shared_$n)  # float[batch_size, $shared, rows, $width]
keys_turned_$n = Transpose <perm = [0, 1, 3, 2]> (keys_$n)
products_$n = MatMul (rows_$n, keys_turned_$n)
scale_$n = Constant <value = float {$scale}> ()
scaled_$n = Mul (products_$n, scale_$n)
$cap
by_group_$n = Concat <axis = 0> (batch, shared_$n, grouped_$n, length, a_1)
scores_$n = Reshape ($scores, by_group_$n)  # float[batch_size, $shared, $group, seq_len, keys]
mask_heads_$n = Unsqueeze (mask, a2)
masked_$n = Add (scores_$n, mask_heads_$n)
shares_$n = Softmax <axis = -1> (masked_$n)
row_count_$n = Mul (length, grouped_$n)
share_sizes_$n = Concat <axis = 0> (batch, shared_$n, row_count_$n, a_1)
share_rows_$n = Reshape (shares_$n, share_sizes_$n)  # float[batch_size, $shared, rows, keys]
mixed_$n = MatMul (share_rows_$n, values_$n)  # float[batch_size, $shared, rows, $width]
heads_$n = Constant <value = int64[1] {$heads}> ()
by_head_$n = Concat <axis = 0> (batch, heads_$n, length, wide_$n)
mixed_heads_$n = Reshape (mixed_$n, by_head_$n)  # float[batch_size, $heads, seq_len, $width]
turned_back_$n = Transpose <perm = [0, 2, 1, 3]> (mixed_heads_$n)  # float[batch_size, seq_len, $heads, $width]
whole_$n = Constant <value = int64[3] {0, 0, $size}> ()
result_$n = Reshape (turned_back_$n, whole_$n)  # float[batch_size, seq_len, $size]
"""
CAP = """
cap_$n = Constant <value = float {$softcap}> ()
divided_$n = Div (scaled_$n, cap_$n)
bent_$n = Tanh (divided_$n)
capped_$n = Mul (bent_$n, cap_$n)
"""


def text(one: Layer = Layer()) -> str:  # noqa: B008 - frozen
    """A graph of one layer, whose inputs are ``query``, ``key`` and ``value`` by token and head."""
    counts = {"query": one.heads, "key": one.shared, "value": one.shared}
    body = shared_part(one)
    for name, count in counts.items():
        shape = f"float[batch_size, {count}, seq_len, {one.width}]"
        body += f"heads_{name} = Transpose <perm = [0, 2, 1, 3]> ({name})  # {shape}\n"
    for name, count in counts.items() if one.rotary else ():
        body += Template(TURN).substitute(name=name, count=count, width=one.width) if name != "value" else ""
    heads = [f"turned_{name}" if one.rotary else f"heads_{name}" for name in ("query", "key")]
    inputs = [f"float[batch_size, seq_len, {count}, {one.width}] {name}" for name, count in counts.items()]
    inputs += ["int64[batch_size, seq_len] position_ids", *["int64[batch_size, 1] batch_index"] * one.slots]
    inputs += [f'{one.state} "past_{part}.0"' for part in ("key", "value")]
    outputs = [f"float[batch_size, seq_len, {one.heads * one.width}] result_0"]
    outputs += [f'{one.state} "past_{part}.0_RetainedState"' for part in ("key", "value")]
    return graph(inputs, outputs, body + attention(one, 0, *heads, "heads_value"))


def model(body: str, one: Layer = Layer()) -> ir.Model:  # noqa: B008 - frozen
    """The graph of :func:`text`, or of one that was changed, with its tables and functions."""
    angles = np.arange(TABLE)[:, None] / 100 ** (np.arange(one.width // 2) / (one.width // 2))
    found = {f"{name}_table": np.tile(turn(angles), 2) for name, turn in (("cos", np.cos), ("sin", np.sin))}
    return ir.from_proto(complete(body, found if one.rotary else {}))


def shared_part(one: Layer) -> str:
    """What all layers share: where tokens are written and read, what they see, the rotary positions."""
    window = Template(WINDOW).substitute(window=one.window) if one.window is not None else ""
    mask = Template(MASK).substitute(seen="in_window" if one.window is not None else "not_later")
    turns = Template(TABLES).substitute(half=one.width // 2) if one.rotary else ""
    return CONSTANTS + (SLOTS if one.slots else "") + PLACES + window + mask + turns


def attention(one: Layer, number: int, query: str, key: str, value: str) -> str:
    """The nodes of a layer's attention, from queries, keys and values by head to ``result_NUMBER``."""
    cap = Template(CAP).substitute(n=number, softcap=one.softcap) if one.softcap is not None else ""
    sizes = {"shared": one.shared, "group": one.heads // one.shared, "width": one.width, "heads": one.heads}
    names = {"query": query, "key": key, "value": value, "cap": cap}
    scores = f"capped_{number}" if cap else f"scaled_{number}"
    more = {"n": number, "size": one.heads * one.width, "scale": one.scale, "scores": scores}
    body = Template(ATTENTION).substitute(**sizes, **names, **more)
    return body if one.slots else body.replace("CB (", " (").replace(", slot,", ",")


def graph(inputs: list[str], outputs: list[str], body: str) -> str:
    """The text of a graph, with the types that stand behind ``#`` declared."""
    types = re.findall(r"^(\w+) = .*# (.*)$", body, re.MULTILINE)
    declared = ", ".join(f"{kind} {name}" for name, kind in types)
    nodes = re.sub(r"  #.*$", "", body, flags=re.MULTILINE)
    return f"{HEAD}\ng ({', '.join(inputs)}) => ({', '.join(outputs)})\n<{declared}> {{\n{nodes}\n}}"


def complete(body: str, weights: Mapping[str, np.ndarray]) -> onnx.ModelProto:
    """The graph of a text with these weights, and the functions that it calls."""
    proto = onnx.parser.parse_model(body)
    for name, array in weights.items():
        proto.graph.initializer.append(onnx.numpy_helper.from_array(array.astype(np.float32), name))
    made = ir.from_proto(proto)
    CacheFunctions()(made)
    return ir.to_proto(made)


# ---------------------------------------------------------------------------------------------- a whole decoder

BEGINNING = """
embedded = Gather (embeddings, input_ids)
final_row = Constant <value = int64 {$last}> ()
safe_places = Clip (position_ids, i0, final_row)
placed = Gather (places, safe_places)
states_0 = Add (embedded, placed)
"""
PROJECTED = """
flat_${part}_$n = MatMul (states_$n, "$part.$n")  # float[batch_size, seq_len, $size]
sizes_${part}_$n = Constant <value = int64[4] {0, 0, $heads, $width}> ()
split_${part}_$n = Reshape (flat_${part}_$n, sizes_${part}_$n)  # float[batch_size, seq_len, $heads, $width]
${part}_$n = Transpose <perm = [0, 2, 1, 3]> (split_${part}_$n)  # float[batch_size, $heads, seq_len, $width]
"""
END = """
out_$n = MatMul (result_$n, "out.$n")
states_$m = Add (states_$n, out_$n)  # float[batch_size, seq_len, $size]
"""
LOGITS = """
largest = ArgMax <axis = 1, keepdims = 1> (position_ids)
$picked
picked_rows = Unsqueeze (picked, a2)
chosen = GatherND <batch_dims = 1> (states_$last, picked_rows)
logits = MatMul (chosen, head)
"""
KEPT = """
kept_size = Shape <start = 0, end = 1> (num_logits_to_keep)
kept_number = Squeeze (kept_size)
first_kept = Sub (i1, kept_number)
steps = Range (first_kept, i1, i1)
steps_back = Add (largest, steps)
picked = Max (steps_back, i0)
"""


def make(folder: Path, form: Form) -> OnnxModel:
    """As ``stateful_graphs.make``, for forms without a window."""
    assert form.window is None
    given = stateful_graphs.make(folder, form)
    one = Layer(HEADS, HEADS, DIM, form.continuous, rotary=False, scale=DIM**-0.5)
    body = shared_part(one) + Template(BEGINNING).substitute(last=form.ctx_len - 1)
    sizes = {"size": WIDTH, "heads": HEADS, "width": DIM}
    for n in range(LAYERS):
        body += "".join(Template(PROJECTED).substitute(part=part, n=n, **sizes) for part in PARTS[:3])
        body += attention(one, n, *(f"{part}_{n}" for part in PARTS[:3])) + Template(END).substitute(
            n=n, m=n + 1, size=WIDTH
        )
    picked = KEPT if form.kept > 1 else "picked = Identity (largest)"
    body += Template(LOGITS).substitute(picked=picked, last=LAYERS)
    kinds = {"int64": "int64", "float32": "float"}
    inputs, outputs = (
        [f'{kinds[spec.dtype]}[{", ".join(map(str, spec.shape))}] "{spec.name}"' for spec in specs]
        for specs in (given.inputs, given.outputs)
    )
    proto = complete(graph(inputs, outputs, body), form.weights)
    onnx.checker.check_model(proto)
    onnx.save_model(proto, given.path)
    return OnnxModel(given.path, given.inputs, given.outputs, hashlib.sha256(given.path.read_bytes()).hexdigest())
