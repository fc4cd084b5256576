"""A decoder's attention as one operator: what is joined, that it computes the same, and what keeps its nodes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
from numpy.typing import NDArray

from QEfficient.onnx_transforms.cached_attention import OPERATOR, JoinCachedAttention
from QEfficient.onnx_transforms.remove_dead_code import RemoveDeadCode
from QEfficient.records import ROW_SLOTS
from tests.cached_graphs import Layer, model, text

SLOTS, CTX = 4, 24
CALLS = ([(0, 5), (0, 3), (0, 0)], [(5, 6), (3, 1), (0, 0)], [(11, 1), (4, 1), (0, 1)], [(12, 9), (5, 9), (1, 2)])
"""Of each of three rows: its first position in a call, and how many tokens it has."""


def kinds(graph: ir.Model) -> Counter[str]:
    return Counter(node.op_type for node in graph.graph)


def wires(graph: ir.Model) -> list[tuple[str, list[str | None], list[str | None]]]:
    """Every node with what it reads and makes."""
    ends = [("ends", [value.name for value in graph.graph.inputs], [value.name for value in graph.graph.outputs])]
    return ends + [
        (node.op_type, [value and value.name for value in node.inputs], [value.name for value in node.outputs])
        for node in graph.graph
    ]


def joined(body: str, one: Layer) -> ir.Model | None:
    graph = model(body, one)
    if not JoinCachedAttention()(graph).modified:
        return None
    RemoveDeadCode()(graph)
    assert not JoinCachedAttention()(graph).modified
    return graph


def calls(one: Layer) -> list[dict[str, NDArray[np.generic]]]:
    """Rows of the slots 0 to 2, in their order."""
    random, made = np.random.default_rng(0), []
    for rows in CALLS:
        width = max(count for _, count in rows)
        positions = np.full((len(rows), width), -1)
        for row, (start, count) in enumerate(rows):
            positions[row, :count] = np.arange(start, start + count)
        counts = {"query": one.heads, "key": one.shared, "value": one.shared}
        arrays: dict[str, NDArray[np.generic]] = {
            name: random.standard_normal((len(rows), width, count, one.width)).astype(np.float32)
            for name, count in counts.items()
        }
        made.append(arrays | {"position_ids": positions})
    return made


def results(
    graph: ir.Model, one: Layer, rows: int
) -> tuple[list[NDArray[np.generic]], Mapping[str, NDArray[np.generic]]]:
    """What the calls give, and the caches afterwards, which are written in place; their first axis has ``rows``."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 3, 1
    session = onnxruntime.InferenceSession(
        ir.to_proto(graph).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    states = {
        f"past_{part}.0": np.full((rows, one.shared, CTX, one.width), np.nan, np.float32) for part in ("key", "value")
    }
    found = []
    for arrays in calls(one):
        binding = session.io_binding()
        if one.slots:
            arrays["batch_index"] = np.arange(3)[:, None]
        for name, array in arrays.items():
            binding.bind_cpu_input(name, array)
        binding.bind_output("result_0")
        for name, state in states.items():
            value = onnxruntime.OrtValue.ortvalue_from_numpy(state)
            binding.bind_ortvalue_input(name, value)
            binding.bind_ortvalue_output(f"{name}_RetainedState", value)
        session.run_with_iobinding(binding)
        real = arrays["position_ids"] >= 0
        found.append(binding.get_outputs()[0].numpy()[real])
    return found, states


LAYERS = {
    "rotary": Layer(),
    "without positions": Layer(rotary=False),
    "one head each": Layer(heads=2),
    "no slots": Layer(slots=False),
    "window": Layer(window=3),
    "soft cap": Layer(softcap=1.5, window=7, slots=False),
    "narrow": Layer(width=8),
    "scale": Layer(heads=6, shared=2, width=32, scale=1.0),
}


@pytest.mark.parametrize("one", LAYERS.values(), ids=LAYERS)
def test_one_operator_computes_the_same(one: Layer) -> None:
    graph = joined(text(one), one)
    assert graph is not None
    found = kinds(graph)
    assert found[OPERATOR] == 1
    assert not found.keys() & {"Softmax", "MatMul", "CtxScatterCB", "CtxGatherCB", "CtxScatter", "CtxGather", "Range"}
    [node] = [node for node in graph.graph if node.op_type == OPERATOR]
    assert node.attributes["do_rotary"].value == int(one.rotary and one.width % 16 == 0)
    new, states = results(graph, one, 3)
    old, wanted = results(model(text(one), one), one, SLOTS if one.slots else 3)
    for ours, theirs in zip(new, old, strict=True):
        assert np.isfinite(ours).all()
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-6)
    for name, state in states.items():
        for row, end in enumerate((21, 14, 3)):
            np.testing.assert_allclose(state[row, :, :end], wanted[name][row, :, :end], rtol=0, atol=1e-6)
            assert np.isnan(state[row, :, end:]).all()


def test_a_cache_has_the_slots_of_the_rows() -> None:
    graph = joined(text(), Layer())
    assert graph is not None
    values = {str(value.name): value for value in (*graph.graph.inputs, *graph.graph.outputs)}
    for part in ("key", "value"):
        for name in (f"past_{part}.0", f"past_{part}.0_RetainedState"):
            assert [str(dim) for dim in values[name].shape or ()] == [ROW_SLOTS, "2", "ctx_len", "16"]
    assert [value.name for value in graph.graph.inputs] == [value.name for value in model(text()).graph.inputs]
    assert [value.name for value in graph.graph.outputs] == [value.name for value in model(text()).graph.outputs]


CHANGES: Mapping[str, tuple[str, str]] = {
    "slots of another kind": ("Sub (slot_number, i1)", "Sub (slot_number, i0)"),
    "another scratch slot": ("Where (slot_there, batch_index, scratch)", "Where (slot_there, batch_index, i0)"),
    "a slot of its own": (
        'CtxGatherCB ("past_key.0_RetainedState", slot',
        'CtxGatherCB ("past_key.0_RetainedState", batch_index',
    ),
    "written elsewhere": ("Where (there, position_ids, nowhere)", "Where (there, position_ids, i0)"),
    "read backwards": ("read = Min (keys, reach)", "read = Max (keys, reach)"),
    "sees what comes": ("LessOrEqual (all_keys", "GreaterOrEqual (all_keys"),
    "hides softly": ("float {-30000.0}", "float {-3.0}"),
    "hides by a bias": (
        "mask = Mul (hidden_heads, fill)",
        "mask9 = Mul (hidden_heads, fill)\nmask = Add (mask9, mask9)",
    ),
    "hides keys after the soft-max": ("Softmax <axis = -1>", "Softmax <axis = 3>"),
    "shares are a result": ("result_0,", "result_0, float[batch_size, 2, 2, seq_len, keys] shares_0,"),
    "keys are a result": ("result_0,", "result_0, float[batch_size, 2, keys, 16] keys_0,"),
    "the old cache is read": ("mask_heads_0 =", 'older = Neg ("past_key.0")\nmask_heads_0 ='),
    "the new cache is read": ("mask_heads_0 =", 'newer = Neg ("past_key.0_RetainedState")\nmask_heads_0 ='),
    "a scale that turns": ("float {0.25}", "float {-0.25}"),
    "keys as they are": ("[0, 1, 3, 2]> (keys_0)", "[0, 1, 2, 3]> (keys_0)"),
    "heads in another order": ("[0, 2, 1, 3]> (mixed_heads_0)", "[2, 0, 1, 3]> (mixed_heads_0)"),
    "slots are counted": ("keys = Unsqueeze", "counted = Neg (slot_number)\nkeys = Unsqueeze"),
    "another softmax input": ("Add (scores_0, mask_heads_0)", "Sub (scores_0, mask_heads_0)"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_what_is_no_such_attention_keeps_its_nodes(change: tuple[str, str]) -> None:
    assert change[0] in text()
    graph = model(text().replace(*change, 1))
    before = wires(graph)
    assert not JoinCachedAttention()(graph).modified
    assert wires(graph) == before


@pytest.mark.parametrize(
    "change",
    [
        ("turned_query = Add (straight_query, across_query)", "turned_query = Sub (straight_query, across_query)"),
        ("minus_key = Neg (rear_key)", "minus_key = Abs (rear_key)"),
        ("Concat <axis = -1> (minus_query, front_query)", "Concat <axis = -1> (front_query, minus_query)"),
        ("across_key = Mul (crossed_key, sin)", "across_key = Mul (crossed_key, cos)"),
        (
            "sin_rows = GatherND (sin_table, known_rows)",
            "sin9 = Neg (sin_table)\nsin_rows = GatherND (sin9, known_rows)",
        ),
        ("Clip (position_ids, i0, last_row)", "Clip (position_ids, i0, i1)"),
        ("rear_query = Slice (heads_query, half, end", "rear_query = Slice (heads_query, a0, half"),
    ],
    ids=["minus", "absolute", "order", "no sine", "no table", "positions", "half"],
)
def test_heads_that_are_turned_otherwise_are_turned_as_before(change: tuple[str, str]) -> None:
    assert change[0] in text()
    body, one = text().replace(*change, 1), Layer()
    graph = joined(body, one)
    assert graph is not None
    [node] = [node for node in graph.graph if node.op_type == OPERATOR]
    assert node.attributes["do_rotary"].value == 0
    for ours, theirs in zip(results(graph, one, 3)[0], results(model(body), one, SLOTS)[0], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-6)


def test_tables_whose_halves_differ_are_no_rotary_ones() -> None:
    one = Layer()
    graph = model(text(one), one)
    table = graph.graph.initializers["cos_table"]
    assert table.const_value is not None
    numbers = table.const_value.numpy().copy()
    numbers[3, 9] += 1
    table.const_value = ir.tensor(numbers, name="cos_table")
    assert JoinCachedAttention()(graph).modified
    assert all(node.attributes["do_rotary"].value == 0 for node in graph.graph if node.op_type == OPERATOR)


@pytest.mark.parametrize("width", [4, 12])
def test_heads_of_widths_that_the_operator_does_not_take(width: int) -> None:
    one = replace(Layer(), width=width)
    assert joined(text(one), one) is None
