"""What nodes cost: formulas against numbers worked out by hand, and graphs that are harder to walk."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from QEfficient.analysis.costs import bucket_costs
from QEfficient.analysis.record import BucketCosts
from QEfficient.errors import UsageError
from QEfficient.numerics.measured_shapes import measured_shapes
from QEfficient.numerics.node_costs import NodeCost, node_costs
from QEfficient.numerics.walk import walk
from QEfficient.records import OnnxModel, Shape
from tests import tiny_graphs
from tests.analysis.graphs import BUCKET, random, write

X = "float[batch_size, seq_len, 6] x"


def costs_of(model: OnnxModel, bucket: Shape = BUCKET) -> dict[str, NodeCost]:
    return {node.name: node for node in node_costs(model, bucket)}


def one(folder: Path, inputs: str, node: str, weights: dict[str, np.ndarray] | None = None) -> NodeCost:
    """The cost of a graph's only node."""
    return costs_of(write(folder, f"g ({inputs}) => (float[?] y) {{ y = {node} }}", weights))["y"]


# Inputs, node, weights → FLOPs at two rows of eight.
FORMULAS = {
    "a weight": (X, "MatMul (x, w)", {"w": random(6, 5)}, 2 * (2 * 8 * 5) * 6),
    "two activations": (
        "float[batch_size, 3, seq_len, 6] q, float[batch_size, 3, 6, seq_len] k",
        "MatMul (q, k)",
        {},
        2 * (2 * 3 * 8 * 8) * 6,
    ),
    "a vector": (X, "MatMul (x, w)", {"w": random(6)}, 2 * (2 * 8) * 6),
    "gemm": ("float[seq_len, 6] x", "Gemm (x, w, b)", {"w": random(6, 5), "b": random(5)}, 2 * (8 * 5) * 6),
    "gemm, both transposed": (
        "float[6, seq_len] x",
        "Gemm <transA = 1, transB = 1> (x, w)",
        {"w": random(5, 6)},
        2 * (8 * 5) * 6,
    ),
    "conv in one dim": (
        "float[batch_size, 6, seq_len] x",
        "Conv <kernel_shape = [3]> (x, w)",
        {"w": random(5, 6, 3)},
        2 * (2 * 5 * 6) * 6 * 3,  # 6 = 8 - 3 + 1 places
    ),
    "conv in two dims, groups, stride": (
        "float[batch_size, 6, 8, seq_len] x",
        "Conv <group = 3, strides = [2, 2], kernel_shape = [2, 2]> (x, w)",
        {"w": random(9, 2, 2, 2)},
        2 * (2 * 9 * 4 * 4) * 2 * 4,
    ),
    "transposed conv": (
        "float[batch_size, 6, seq_len] x",
        "ConvTranspose <strides = [2], kernel_shape = [3]> (x, w)",
        {"w": random(6, 5, 3)},
        2 * (2 * 6 * 8) * 5 * 3,
    ),
    "lstm": (
        "float[seq_len, batch_size, 6] x",
        "LSTM <hidden_size = 5> (x, w, r)",
        {"w": random(1, 20, 6), "r": random(1, 20, 5)},
        2 * (8 * 2) * (20 * 6 + 20 * 5),
    ),
    "a sum is none": (X, "Add (x, x)", {}, 0),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_flops(name: str, tmp_path: Path) -> None:
    inputs, node, weights, want = FORMULAS[name]
    assert one(tmp_path, inputs, node, weights).flops == want


@pytest.mark.parametrize(
    ("equation", "shapes"),
    [
        ("ij,jk->ik", [(3, 4), (4, 5)]),
        ("bhid,bhjd->bhij", [(2, 3, 4, 5), (2, 3, 6, 5)]),
        ("ij,jk", [(3, 4), (4, 5)]),
        ("...ij,...jk->...ik", [(2, 3, 4, 5), (2, 3, 5, 6)]),
        ("ij,jk,kl->il", [(3, 4), (4, 5), (5, 6)]),
        ("bi->i", [(3, 4)]),
    ],
)
def test_einsum_counts_as_torch_s_own(equation: str, shapes: list[tuple[int, ...]], tmp_path: Path) -> None:
    names = [f"a{place}" for place in range(len(shapes))]
    inputs = ", ".join(f"float{list(shape)} {name}" for shape, name in zip(shapes, names, strict=True))
    found = one(tmp_path, inputs, f'Einsum <equation = "{equation}"> ({", ".join(names)})')
    with FlopCounterMode(display=False) as counter:
        torch.einsum(equation, *(torch.ones(shape) for shape in shapes))
    assert found.flops == counter.get_total_flops()


def test_vector_operations(tmp_path: Path) -> None:
    """One an element that is computed; a softmax five, a layer norm seven, a reduction as many as it reads."""
    text = f"""g ({X}) => (float[?] y) {{
        s = Softmax (x)
        n = LayerNormalization (s, scale)
        axes = Constant <value_ints = [1]> ()
        r = ReduceSum (n, axes)
        t = Transpose (r)
        y = Tanh (t)
    }}"""
    found = costs_of(write(tmp_path, text, {"scale": random(6)}))
    elements = 2 * 8 * 6
    wanted = {"s": 5 * elements, "n": 7 * elements, "r": elements, "t": 0, "y": 12}
    assert {name: found[name].vector_ops for name in wanted} == wanted


def test_bytes(tmp_path: Path) -> None:
    """A table is read where it is looked up; a tensor under another shape is not moved; weights are no activations."""
    text = """g (int64[batch_size, seq_len] ids) => (float[?] y) {
        words = Gather (table, ids)
        shape = Constant <value_ints = [-1, 6]> ()
        rows = Reshape (words, shape)
        y = MatMul (rows, w)
    }"""
    found = costs_of(write(tmp_path, text, {"table": random(1000, 6), "w": random(6, 5)}))
    rows = 2 * 8
    words = found["words"]
    assert (words.bytes_in, words.bytes_out, words.weight_bytes) == (rows * 8, rows * 6 * 4, rows * 6 * 4)
    assert (found["rows"].bytes_in, found["rows"].bytes_out, found["rows"].weight_bytes) == (0, 0, 0)
    product = found["y"]
    assert (product.bytes_in, product.bytes_out, product.weight_bytes) == (rows * 6 * 4, rows * 5 * 4, 30 * 4)
    assert product.output_shape == (16, 5)


def test_what_follows_from_shapes_alone_costs_nothing(tmp_path: Path) -> None:
    """A compiler for fixed shapes folds it; here it is computed, so that the shapes behind it are known."""
    text = f"""g ({X}) => (float[?] y) {{
        shape = Shape (x)
        zero = Constant <value_ints = [0]> ()
        one = Constant <value_ints = [1]> ()
        two = Constant <value_ints = [2]> ()
        rows = Slice (shape, zero, one)
        length = Slice (shape, one, two)
        both = Mul (rows, length)
        width = Constant <value_ints = [6]> ()
        flat = Concat <axis = 0> (both, width)
        y = Reshape (x, flat)
    }}"""
    costs = bucket_costs(write(tmp_path, text), BUCKET)
    assert {node.name: node.output_shape for node in costs.nodes}["y"] == (16, 6)
    assert (costs.vector_ops, costs.activation_bytes, costs.unknown) == (0, 0, {})


def test_sums_by_operator_and_by_module(tmp_path: Path) -> None:
    text = f"g ({X}) => (float[?] y) {{ a = MatMul (x, w)\n b = Tanh (a)\n c = MatMul (b, w)\n y = Add (c, x) }}"
    modules = {"a": "layer.0", "b": "layer.0", "c": "layer.1"}
    costs = bucket_costs(write(tmp_path, text, {"w": random(6, 6)}, modules), BUCKET)
    product, elements = 2 * 2 * 8 * 6 * 6, 2 * 8 * 6
    assert [(row.op, row.count, row.flops, row.vector_ops) for row in costs.operators] == [
        ("MatMul", 2, 2 * product, 0),
        ("Add", 1, 0, elements),
        ("Tanh", 1, 0, elements),
    ]
    assert [(row.path, row.flops, row.vector_ops) for row in costs.modules] == [
        ("layer.0", product, elements),
        ("layer.1", product, 0),
        ("", 0, elements),
    ]
    assert (costs.flops, costs.vector_ops) == (2 * product, 2 * elements)
    assert costs.weight_bytes == 2 * 36 * 2
    assert costs.activation_bytes == (2 + 2 + 2 + 3) * elements * 2
    assert costs.io_bytes == 2 * elements * 4


def test_every_shape_is_the_one_that_a_run_has(tmp_path: Path) -> None:
    model = tiny_graphs.make(tmp_path)
    found = walk(model, BUCKET)
    every = replace(found, shapeless=tuple(tensor.name for step in found.steps for tensor in step.outputs))
    measured = measured_shapes(model, BUCKET, every)
    assert len(measured) > 20
    inferred = {tensor.name: tensor for step in found.steps for tensor in step.outputs if tensor.name in measured}
    assert {name: (one.dtype.numpy().name, one.shape) for name, one in inferred.items()} == measured


# ------------------------------------------------------------------------------------------------ harder to walk

LAYERS = """
<ir_version: 10, opset_import: ["": 18, "ours": 1]>
g (float[batch_size, seq_len, 6] x) => (float[?] y)
{
    first = ours.layer <power = 2.0> (x, w0)
    y = ours.layer <power = 3.0> (first, w1)
}
<domain: "ours", opset_import: ["": 18]>
layer <power> (states, weight) => (result)
{
    product = MatMul (states, weight)
    p = Constant <value_float: float = @power> ()
    result = Pow (product, p)
}
"""


def test_functions_are_walked_into_once_a_call(tmp_path: Path) -> None:
    """The nodes of the second call belong to the second layer, whatever layer the function was made of."""
    modules = {"first": "encoder.layer.0", "y": "encoder.layer.1", "product": "encoder.layer.0.dense"}
    model = write(tmp_path, LAYERS, {"w0": random(6, 5), "w1": random(5, 4)}, modules)
    costs = bucket_costs(model, BUCKET)
    assert [(node.name, node.module, node.flops) for node in costs.nodes] == [
        ("product", "encoder.layer.0.dense", 2 * 16 * 6 * 5),
        ("result", "encoder.layer.0", 0),
        ("product", "encoder.layer.1.dense", 2 * 16 * 5 * 4),
        ("result", "encoder.layer.1", 0),
    ]
    assert costs.nodes[-1].output_shape == (2, 8, 4)


def test_a_graph_without_notes_of_the_exporter(tmp_path: Path) -> None:
    costs = bucket_costs(write(tmp_path, LAYERS, {"w0": random(6, 5), "w1": random(5, 4)}), BUCKET)
    assert {node.module for node in costs.nodes} == {""}
    assert costs.flops == 2 * 16 * (30 + 20)


def if_graph(condition: str) -> str:
    return f"""g ({X}) => (float[?] y) {{
        {condition}
        y = If (c) <
            then_branch = small () => (float[a, b, 5] s) {{ s = MatMul (x, w) }},
            else_branch = large () => (float[a, b, 5] l) {{
                m = MatMul (x, v)
                l = MatMul (m, w)
            }}
        >
    }}"""


@pytest.mark.parametrize(
    ("condition", "flops"),
    [
        ("c = Constant <value = bool {1}> ()", 2 * 16 * 6 * 5),
        ("n = Size (x)\n none = Constant <value = int64 {0}> ()\n c = Equal (n, none)", 2 * 16 * (36 + 30)),
        ("t = ReduceSum <keepdims = 0> (x)\n o = Constant <value = float {0}> ()\n c = Less (t, o)", 2 * 16 * 66),
    ],
    ids=["constant", "from shapes", "from data: the larger branch"],
)
def test_branches(condition: str, flops: int, tmp_path: Path) -> None:
    costs = bucket_costs(write(tmp_path, if_graph(condition), {"w": random(6, 5), "v": random(6, 6)}), BUCKET)
    assert costs.flops == flops


LOOP = f"""g ({X}, int64 count) => (float[?] y) {{{{
    n = Constant <value = int64 {{{{3}}}}> ()
    y, all = Loop ({{trips}}, , x) <
        body = b (int64 i, bool go_on, float[r, l, 6] state) => (bool go, float[r, l, 6] next, float[r, l, 6] kept) {{{{
            go = Identity (go_on)
            next = MatMul (state, w)
            kept = Tanh (next)
        }}}}
    >
    z = Tanh (all)
}}}}"""


def test_a_loop_of_known_length_counts_each_step_that_often(tmp_path: Path) -> None:
    costs = bucket_costs(write(tmp_path, LOOP.format(trips="n"), {"w": random(6, 6)}), BUCKET)
    nodes = {node.name: node for node in costs.nodes}
    assert (nodes["next"].runs, nodes["next"].flops) == (3, 3 * 2 * 16 * 36)
    assert nodes["z"].output_shape == (3, 2, 8, 6)
    assert not costs.unknown


def test_a_loop_of_unknown_length_is_said_to_be_one(tmp_path: Path) -> None:
    costs = bucket_costs(write(tmp_path, LOOP.format(trips="count"), {"w": random(6, 6)}), BUCKET)
    assert list(costs.unknown) == ["y"]
    assert "how often Loop runs is not known" in costs.unknown["y"]


def test_a_shape_that_depends_on_a_condition_is_measured(tmp_path: Path) -> None:
    """The rows of ones that are run take one branch; what follows has its shape."""
    text = f"""g ({X}) => (float[?] z) {{
        t = ReduceSum <keepdims = 0> (x)
        o = Constant <value = float {{0}}> ()
        c = Less (o, t)
        y = If (c) <
            then_branch = a () => (float[q, r, 5] p) {{ p = MatMul (x, w) }},
            else_branch = b () => (float[s, u, 4] n) {{ n = MatMul (x, v) }}
        >
        z = Tanh (y)
    }}"""
    costs = bucket_costs(write(tmp_path, text, {"w": random(6, 5), "v": random(6, 4)}), BUCKET)
    assert {node.name: node.output_shape for node in costs.nodes}["z"] == (2, 8, 5)
    assert list(costs.unknown) == ["y"]


def test_a_scan_runs_once_a_slice(tmp_path: Path) -> None:
    text = """g (float[batch_size, 6] start, float[seq_len, batch_size, 6] x) => (float[?] y) {
        last, y = Scan (start, x) <
            num_scan_inputs = 1,
            body = b (float[r, 6] state, float[r, 6] slice) => (float[r, 6] next, float[r, 5] out) {
                next = Add (state, slice)
                out = MatMul (next, w)
            }
        >
    }"""
    costs = bucket_costs(write(tmp_path, text, {"w": random(6, 5)}), BUCKET)
    assert costs.flops == 8 * 2 * 2 * 6 * 5
    assert costs.io_bytes == 4 * (2 * 6 + 8 * 2 * 6 + 8 * 2 * 5)


def test_shapes_that_depend_on_data_are_those_of_full_rows(tmp_path: Path) -> None:
    """Rows of real tokens only: as many as the mask has ones, which a run on the host tells."""
    text = """g (float[batch_size, seq_len, 6] x, int64[batch_size, seq_len] mask) => (float[n, 5] y) {
        on = Cast <to = 9> (mask)
        flat_shape = Constant <value_ints = [-1, 6]> ()
        flat = Reshape (x, flat_shape)
        all = Constant <value_ints = [-1]> ()
        bits = Reshape (on, all)
        real = Compress <axis = 0> (flat, bits)
        y = MatMul (real, w)
    }"""
    costs = bucket_costs(write(tmp_path, text, {"w": random(6, 5)}), BUCKET)
    assert costs.flops == 2 * 16 * 6 * 5
    assert not costs.unknown


FOREIGN = """
<ir_version: 10, opset_import: ["": 18, "com.microsoft": 1]>
g (float[batch_size, seq_len, 6] x) => (float[?] y) {
    a = com.microsoft.FusedMatMul (x, w)
    y = MatMul (a, v)
}
"""


def test_an_operator_of_another_maker_is_unknown_and_what_follows_is_not(tmp_path: Path) -> None:
    costs = bucket_costs(write(tmp_path, FOREIGN, {"w": random(6, 5), "v": random(5, 4)}), BUCKET)
    assert costs.unknown == {"a": "no formula for the FLOPs of com.microsoft.FusedMatMul"}
    assert costs.flops == 2 * 16 * 5 * 4


def test_inside_a_function_nothing_can_be_measured_and_that_is_said(tmp_path: Path) -> None:
    text = """
    <ir_version: 10, opset_import: ["": 18, "ours": 1]>
    g (float[batch_size, seq_len] x) => (int64[2, n] y) { y = ours.places (x) }
    <domain: "ours", opset_import: ["": 18]>
    places (states) => (found) { found = NonZero (states) }
    """
    costs = bucket_costs(write(tmp_path, text), BUCKET)
    assert list(costs.unknown) == ["found"]
    assert "is not known before it runs" in costs.unknown["found"]


# ------------------------------------------------------------------------------------------------ errors


def test_a_dim_that_the_bucket_does_not_name(tmp_path: Path) -> None:
    model = write(tmp_path, "g (float[rows, seq_len] x) => (float[?] y) { y = Tanh (x) }")
    with pytest.raises(UsageError, match=r"(?s)free dim of input 'x'.*got: +rows.*batch_size, seq_len"):
        node_costs(model, BUCKET)


def test_a_bucket_that_the_graph_can_t_take(tmp_path: Path) -> None:
    text = "g (float[batch_size, seq_len] x) => (float[?] y) { y = Add (x, w) }"
    with pytest.raises(UsageError, match=r"(?s)can't be run at this bucket.*seq_len"):
        node_costs(write(tmp_path, text, {"w": random(4)}), BUCKET)


def test_totals_are_of_the_record_s_nodes(tmp_path: Path) -> None:
    costs: BucketCosts = bucket_costs(write(tmp_path, LAYERS, {"w0": random(6, 5), "w1": random(5, 4)}), BUCKET)
    assert costs.nodes == node_costs(write(tmp_path, LAYERS, {"w0": random(6, 5), "w1": random(5, 4)}), BUCKET)
    assert costs.flops == sum(row.flops for row in costs.operators) == sum(row.flops for row in costs.modules)
