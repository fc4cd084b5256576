"""A small decoder with caches as an ONNX graph of standard operators, made by hand, and what it must compute.

Each layer: attention over its own cache, and a residual. It has no norm and no feed-forward; positions are learnt. Its
guards are those of the library's own graphs: a write at no position, or into no slot, goes where nobody reads, and
values as well as scores are hidden where nothing was written. Three forms:

* with ``batch_index``: rows go to slots, the last of which is scratch;
* without: row n is slot n, whose last position is scratch;
* with a window: the second layer keeps the last ``sliding_window`` positions, at position modulo window, and reads what
  its cache held before the chunk: two readers of one state.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import onnx

from QEfficient.records import DecoderFacts, OnnxModel, Shape, TensorSpec

VOCABULARY, HEADS, DIM = 61, 2, 32
WIDTH = HEADS * DIM
LAYERS = 2
PARTS = ("query", "key", "value", "out")


@dataclass(frozen=True)
class Form:
    """One graph, and what it is compiled for."""

    continuous: bool = True
    window: int | None = None
    kept: int = 1
    ctx_len: int = 24
    slots: int = 4
    rows: int = 3
    chunk: int = 8

    @property
    def facts(self) -> DecoderFacts:
        rows = self.rows if self.continuous else self.slots
        rewinds = self.window is None
        return DecoderFacts(self.ctx_len, self.slots, rows, self.chunk, self.continuous, self.kept, rewinds)

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """Prefill and decode, as a card has them."""
        sizes = {"ctx_len": self.ctx_len}
        if self.continuous:
            sizes["full_batch_size"] = self.slots + 1
        if self.window:
            sizes["sliding_window"] = self.window
        if self.kept > 1:
            sizes["num_logits_to_keep"] = self.kept
        one = 1 if self.continuous else self.slots
        return Shape(self.chunk, one, sizes), Shape(self.kept, self.facts.decode_rows, sizes)

    @cached_property
    def weights(self) -> dict[str, np.ndarray]:
        random = np.random.default_rng(0)
        shapes = {"embeddings": (VOCABULARY, WIDTH), "places": (self.ctx_len, WIDTH), "head": (WIDTH, VOCABULARY)}
        shapes |= {f"{part}.{layer}": (WIDTH, WIDTH) for layer in range(LAYERS) for part in PARTS}
        return {
            name: (random.standard_normal(shape) / shape[0] ** 0.5).astype(np.float32) for name, shape in shapes.items()
        }


FORMS: Mapping[str, Form] = {
    "slots": Form(),
    "plain": Form(continuous=False),
    "window": Form(window=5),
    "kept": Form(kept=3),
}


def make(folder: Path, form: Form) -> OnnxModel:
    """Writes ``folder/model.onnx``, its weights inside."""
    text = "\n".join(
        [
            '<ir_version: 9, opset_import: ["" : 18]>',
            f"decoder ({', '.join(map(_declared, _inputs(form)))}) => ({', '.join(map(_declared, _outputs(form)))}) {{",
            *_constants(),
            *_common(form),
            *(line for layer in range(LAYERS) for line in _layer(form, layer)),
            *_logits(form),
            "}",
        ]
    )
    model = onnx.parser.parse_model(text)
    model.graph.initializer.extend(onnx.numpy_helper.from_array(array, name) for name, array in form.weights.items())
    onnx.checker.check_model(model)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "model.onnx"
    onnx.save_model(model, path)
    return OnnxModel(path, _inputs(form), _outputs(form), hashlib.sha256(path.read_bytes()).hexdigest())


def reference(form: Form, ids: Sequence[int]) -> np.ndarray:
    """The logits behind every id of one sequence, ``(ids, vocabulary)``, computed at once in float64."""
    weights = {name: array.astype(np.float64) for name, array in form.weights.items()}
    places = np.arange(len(ids))
    states = weights["embeddings"][list(ids)] + weights["places"][places]
    for layer in range(LAYERS):
        query, key, value = (
            (states @ weights[f"{part}.{layer}"]).reshape(-1, HEADS, DIM).swapaxes(0, 1) for part in PARTS[:3]
        )
        seen = places[:, None] >= places
        if form.window and layer == 1:
            seen &= places[:, None] - places < form.window
        scores = np.where(seen, query @ key.swapaxes(1, 2) / DIM**0.5, -np.inf)
        shares = np.exp(scores - scores.max(-1, keepdims=True))
        mixed = (shares / shares.sum(-1, keepdims=True)) @ value
        states = states + mixed.swapaxes(0, 1).reshape(-1, WIDTH) @ weights[f"out.{layer}"]
    return states @ weights["head"]


def _declared(spec: TensorSpec) -> str:
    kinds = {"int64": "int64", "float32": "float"}
    return f'{kinds[spec.dtype]}[{", ".join(map(str, spec.shape))}] "{spec.name}"'


def _caches(form: Form) -> tuple[TensorSpec, ...]:
    rows = "full_batch_size" if form.continuous else "batch_size"
    found = []
    for layer in range(LAYERS):
        length = "sliding_window" if form.window and layer == 1 else "ctx_len"
        shape = (rows, HEADS, length, DIM)
        found += [TensorSpec(f"past_{part}.{layer}", "float32", shape) for part in ("key", "value")]
    return tuple(found)


def _inputs(form: Form) -> tuple[TensorSpec, ...]:
    found = [TensorSpec(name, "int64", ("batch_size", "seq_len")) for name in ("input_ids", "position_ids")]
    if form.continuous:
        found.append(TensorSpec("batch_index", "int64", ("batch_size", 1)))
    if form.kept > 1:
        found.append(TensorSpec("num_logits_to_keep", "int64", ("num_logits_to_keep", 1)))
    return (*found, *_caches(form))


def _outputs(form: Form) -> tuple[TensorSpec, ...]:
    kept: int | str = 1 if form.kept == 1 else "num_logits_to_keep"
    logits = TensorSpec("logits", "float32", ("batch_size", kept, VOCABULARY))
    return (logits, *(TensorSpec(f"{spec.name}_RetainedState", "float32", spec.shape) for spec in _caches(form)))


def _constants() -> list[str]:
    numbers = {"zero": 0, "one": 1, "none": -1}
    lines = [f"{name} = Constant <value = int64 {{{value}}}> ()" for name, value in numbers.items()]
    lines += [f"axis{n} = Constant <value = int64[1] {{{n}}}> ()" for n in (1, 2)]
    lines += [f"axes{a}{b} = Constant <value = int64[2] {{{a}, {b}}}> ()" for a, b in ((1, 2), (1, 3), (2, 3))]
    lines.append(f"heads = Constant <value = int64[4] {{0, 0, {HEADS}, {DIM}}}> ()")
    lines.append(f"wide = Constant <value = int64[3] {{0, 0, {WIDTH}}}> ()")
    lines.append("head_numbers = Constant <value = int64[2] {0, 1}> ()")
    lines.append("axes023 = Constant <value = int64[3] {0, 2, 3}> ()")
    lines.append("hidden = Constant <value = float {-10000.0}> ()")
    lines.append("nothing = Constant <value = float {0.0}> ()")
    lines.append(f"scale = Constant <value = float {{{DIM**-0.5}}}> ()")
    return lines


def _common(form: Form) -> list[str]:
    """Where each token stands, where it is written, and which slot each row reads."""
    lines = [
        'cache_shape = Shape("past_key.0")',
        "all_slots = Gather(cache_shape, zero)",
        "two = Add(one, one)",
        "ctx = Gather(cache_shape, two)",
        "last_slot = Sub(all_slots, one)",
        "last_place = Sub(ctx, one)",
        "too_low = Less(position_ids, zero)",
        f"too_high = GreaterOrEqual(position_ids, {'ctx' if form.continuous else 'last_place'})",
        "nowhere = Or(too_low, too_high)",
    ]
    if form.continuous:
        lines += [
            "slot_low = Less(batch_index, zero)",
            "slot_high = GreaterOrEqual(batch_index, last_slot)",
            "no_slot = Or(slot_low, slot_high)",
            "dropped = Or(nowhere, no_slot)",
            "read_slot = Where(no_slot, last_slot, batch_index)",
            "write_slot = Where(dropped, last_slot, batch_index)",
            "place = Where(dropped, zero, position_ids)",
        ]
    else:
        lines += [
            "dropped = Identity(nowhere)",
            "numbers = Range(zero, all_slots, one)",
            "read_slot = Unsqueeze(numbers, axis1)",
            "same = Mul(position_ids, zero)",
            "write_slot = Add(read_slot, same)",
            "place = Where(dropped, last_place, position_ids)",
        ]
    return [
        *lines,
        "rows_read = Squeeze(read_slot, axis1)",
        "known = Where(dropped, none, position_ids)",
        "end = ReduceMax <keepdims = 1> (known, axis1)",  # (batch, 1): a row's largest position
        "far = Where(dropped, ctx, position_ids)",
        "start = ReduceMin <keepdims = 1> (far, axis1)",
        "places_read = Range(zero, ctx, one)",
        "query_place = Unsqueeze(known, axes13)",  # (batch, 1, seq, 1)
        "embedded = Gather(embeddings, input_ids)",
        "safe_place = Where(dropped, zero, position_ids)",
        "placed = Gather(places, safe_place)",
        "states0 = Add(embedded, placed)",
    ]


def _layer(form: Form, n: int) -> list[str]:
    lines = []
    for part in PARTS[:3]:
        lines += [
            f'{part}{n}_flat = MatMul(states{n}, "{part}.{n}")',
            f"{part}{n}_split = Reshape({part}{n}_flat, heads)",
            f"{part}{n} = Transpose <perm = [0, 2, 1, 3]> ({part}{n}_split)",  # (batch, heads, seq, dim)
        ]
    read = _windowed if form.window and n == 1 else _whole
    return [
        *lines,
        *read(n),
        f"turned{n} = Transpose <perm = [0, 1, 3, 2]> (keys{n})",
        f"products{n} = MatMul(query{n}, turned{n})",
        f"scaled{n} = Mul(products{n}, scale)",
        f"scores{n} = Where(seen{n}, scaled{n}, hidden)",
        f"shares{n} = Softmax <axis = -1> (scores{n})",
        f"mixed{n} = MatMul(shares{n}, values{n})",
        f"back{n} = Transpose <perm = [0, 2, 1, 3]> (mixed{n})",
        f"joined{n} = Reshape(back{n}, wide)",
        f'out{n} = MatMul(joined{n}, "out.{n}")',
        f"states{n + 1} = Add(states{n}, out{n})",
    ]


def _scatter(n: int, slot: str, place: str) -> list[str]:
    """Writes a layer's keys and values at (slot, head, place), each ``(batch, seq)``."""
    return [
        f"slot4_{n} = Unsqueeze({slot}, axes13)",
        f"place4_{n} = Unsqueeze({place}, axes13)",
        f"head4_{n} = Unsqueeze(head_numbers, axes023)",
        f"no_head{n} = Mul(head4_{n}, zero)",
        f"wide_slot{n} = Add(slot4_{n}, no_head{n})",
        f"wide_place{n} = Add(place4_{n}, no_head{n})",
        f"no_place{n} = Mul(wide_place{n}, zero)",
        f"wide_head{n} = Add(head4_{n}, no_place{n})",
        f"indices{n} = Concat <axis = 3> (wide_slot{n}, wide_head{n}, wide_place{n})",
        *(
            f'"past_{part}.{n}_RetainedState" = ScatterND("past_{part}.{n}", indices{n}, {part}{n})'
            for part in ("key", "value")
        ),
    ]


def _whole(n: int) -> list[str]:
    """Writes the chunk, then reads the slot."""
    return [
        *_scatter(n, "write_slot", "place"),
        f'keys{n} = Gather("past_key.{n}_RetainedState", rows_read)',
        f'values{n}_all = Gather("past_value.{n}_RetainedState", rows_read)',
        f"seen{n} = LessOrEqual(places_read, query_place)",  # (batch, 1, seq, ctx)
        f"column{n} = Unsqueeze(places_read, axis1)",
        f"end4_{n} = Unsqueeze(end, axes23)",
        f"written{n} = LessOrEqual(column{n}, end4_{n})",  # (batch, 1, ctx, 1)
        f"values{n} = Where(written{n}, values{n}_all, nothing)",
    ]


def _windowed(n: int) -> list[str]:
    """Reads what the window held before the chunk beside the chunk, and writes the chunk's last positions."""
    return [
        f'window_shape = Shape("past_key.{n}")',
        "window = Gather(window_shape, two)",
        "window_places = Range(zero, window, one)",
        "before = Sub(start, one)",
        "back = Sub(before, window_places)",  # (batch, window)
        "age = Mod(back, window)",
        "held = Sub(before, age)",  # which position each place of the window holds; below 0: none
        f'old_keys = Gather("past_key.{n}", rows_read)',
        f'old_values_all = Gather("past_value.{n}", rows_read)',
        "held_any = GreaterOrEqual(held, zero)",
        "held_column = Unsqueeze(held_any, axes13)",
        "old_values = Where(held_column, old_values_all, nothing)",
        f"keys{n} = Concat <axis = 2> (old_keys, key{n})",
        f"values{n} = Concat <axis = 2> (old_values, value{n})",
        "key_places = Concat <axis = 1> (held, known)",
        "key_places4 = Unsqueeze(key_places, axes12)",
        "not_later = LessOrEqual(key_places4, query_place)",
        "first = Sub(query_place, window)",
        "not_earlier = Greater(key_places4, first)",
        "real = GreaterOrEqual(key_places4, zero)",
        "inside = And(not_later, not_earlier)",
        f"seen{n} = And(inside, real)",
        "window_start = Sub(end, window)",
        "outside = LessOrEqual(known, window_start)",
        "window_dropped = Or(dropped, outside)",
        "window_slot = Where(window_dropped, last_slot, write_slot)",
        "turn = Mod(known, window)",
        "window_place = Where(window_dropped, zero, turn)",
        *_scatter(n, "window_slot", "window_place"),
    ]


def _logits(form: Form) -> list[str]:
    """Of each row's largest position, or of the last few up to it."""
    lines = ["largest = ArgMax <axis = 1, keepdims = 1> (known)"]
    if form.kept > 1:
        lines += [
            "kept_shape = Shape(num_logits_to_keep)",
            "kept = Gather(kept_shape, zero)",
            "kept_less = Sub(one, kept)",
            "steps = Range(kept_less, one, one)",
            "steps_back = Add(largest, steps)",
            "picked = Max(steps_back, zero)",
        ]
    else:
        lines.append("picked = Identity(largest)")
    return [
        *lines,
        "picked3 = Unsqueeze(picked, axis2)",
        f"chosen = GatherND <batch_dims = 1> (states{LAYERS}, picked3)",
        "logits = MatMul(chosen, head)",
    ]
