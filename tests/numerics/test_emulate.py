"""The emulation computes what a plain interpreter in numpy computes, node by node, with every result rounded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import numpy_helper

from QEfficient.errors import OptionError, TransformError
from QEfficient.numerics.emulate import Precision, emulated, open_emulated, precision_of
from QEfficient.numerics.formats import mxfp6, mxint8, round_fp16
from QEfficient.numerics.precision_file import write
from QEfficient.onnx_transforms import describe
from QEfficient.records import CompileOptions, OnnxModel, Shape, Target
from tests import tiny_graphs

HEAD = '<ir_version: 10, opset_import: ["": 18]>\n'
BUCKETS = (Shape(64, 64),)
Arrays = dict[str, np.ndarray]


def save(folder: Path, text: str, **weights: np.ndarray) -> OnnxModel:
    model = onnx.parser.parse_model(text if text.lstrip().startswith("<") else HEAD + text)
    model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in weights.items())
    onnx.checker.check_model(model)
    folder.mkdir(exist_ok=True)
    onnx.save_model(model, folder / "graph.onnx")
    return describe(folder / "graph.onnx")


def run(model: OnnxModel, inputs: Mapping[str, np.ndarray], precision: Precision, *watch: str) -> Arrays:
    with open_emulated(model, precision, buckets=BUCKETS, watch=watch) as session:
        return session.run(inputs)


def bits(array: np.ndarray) -> bytes:
    return np.where(np.isnan(array), np.float32(np.nan), array).astype(np.float32).tobytes()  # NaNs are all alike


# ---------------------------------------------------------------------------------------------- the interpreter

COMPUTING = {
    "Add": lambda a, b: a + b,
    "Sub": lambda a, b: a - b,
    "Mul": lambda a, b: a * b,
    "Max": np.maximum,
    "Neg": lambda a: -a,
    "Transpose": lambda a: a.T,
    "Identity": lambda a: a,
}
"""Operators whose fp32 result IEEE 754 fixes to the last bit."""


def interpret(graph: onnx.GraphProto, inputs: Mapping[str, np.ndarray], fp32: frozenset[str]) -> Arrays:
    """Every value as its maker leaves it: fp16 nodes round what they read, and their result."""
    values = {t.name: numpy_helper.to_array(t) for t in graph.initializer} | dict(inputs)
    for node in graph.node:
        if node.op_type == "Constant":
            values[node.output[0]] = np.float32(node.attribute[0].f)
            continue
        read = [values[name] for name in node.input]
        with np.errstate(all="ignore"):
            if node.output[0] in fp32:
                values[node.output[0]] = COMPUTING[node.op_type](*read)
            else:
                values[node.output[0]] = round_fp16(COMPUTING[node.op_type](*(round_fp16(one) for one in read)))
    return values


@st.composite
def graphs(draw: st.DrawFn) -> tuple[str, frozenset[str], list[str]]:
    """Text of a graph of up to eight nodes over 3 × 3 matrices, its fp32 nodes, and the values that are no outputs."""
    made, lines = ["x"], ["c = Constant <value_float = 0.1> ()"]
    for index in range(draw(st.integers(1, 8))):
        op = draw(st.sampled_from(sorted(COMPUTING)))
        read = [draw(st.sampled_from(made))]
        if op in ("Add", "Sub", "Mul", "Max"):
            read.append(draw(st.sampled_from([*made, "w", "huge", "c"])))
        made.append(f"v{index}")
        lines.append(f"v{index} = {op} ({', '.join(read)})")
    fp32 = draw(st.frozensets(st.sampled_from([*made[1:], "c"])))
    outputs = draw(st.sets(st.sampled_from(made[1:]), min_size=1))
    signature = ", ".join(f"float[3,3] {name}" for name in sorted(outputs))
    body = "\n".join(lines)
    return f"g (float[3,3] x) => ({signature}) {{ {body} }}", fp32, [name for name in made if name not in outputs]


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(case=graphs(), seed=st.integers(0, 99))
def test_mixed_graphs_are_computed_bit_by_bit(tmp_path: Path, case: tuple, seed: int) -> None:
    text, fp32, inner = case
    noise = np.random.default_rng(seed)
    weights = {"w": noise.standard_normal((3, 3)).astype(np.float32), "huge": np.float32([[1e5, 3e4, 1e-7]] * 3)}
    x = {"x": noise.standard_normal((3, 3)).astype(np.float32) * 300}
    model = save(tmp_path / "mixed", text, **weights)
    want = interpret(onnx.load(model.path).graph, x, fp32)
    precision = Precision(fp32_nodes=fp32)
    for watched in ((), tuple(inner)):  # a value that is watched takes part in no fusion
        found = run(model, x, precision, *watched)
        assert list(found) == [spec.name for spec in model.outputs] + list(watched)
        for name, array in found.items():
            assert bits(array) == bits(want[name]), name


def test_without_rounding_the_numbers_are_those_of_the_graph(tmp_path: Path) -> None:
    model, x = tiny_graphs.make(tmp_path / "m"), tiny_graphs.feed(5, 7)
    found = run(model, x, Precision(half=False))["output"]
    np.testing.assert_allclose(found, tiny_graphs.reference(model, x), rtol=1e-5, atol=1e-6)


# ---------------------------------------------------------------------------------------------- single rules


def test_overflow_is_infinite_and_what_comes_of_it_is_nan(tmp_path: Path) -> None:
    text = """g (float[1,2] x) => (float[1,2] square, float[1,2] nothing) {
        square = Mul (x, x)  nothing = Sub (square, square) }"""
    model, x = save(tmp_path / "m", text), {"x": np.float32([[255.9, 256.0]])}
    found = run(model, x, Precision())
    assert found["square"].tolist() == [[65472.0, np.inf]]
    assert found["nothing"][0, 0] == 0 and np.isnan(found["nothing"][0, 1])
    kept = run(model, x, Precision(fp32_nodes=frozenset({"square", "nothing"})))
    assert kept["square"][0, 1] == 65536 and kept["nothing"].tolist() == [[0, 0]]
    half = run(model, x, Precision(fp32_nodes=frozenset({"square"})))  # its reader still reads fp16
    assert half["square"][0, 1] == 65536 and np.isnan(half["nothing"][0, 1])


def test_a_float_input_is_rounded_for_those_who_compute_in_fp16(tmp_path: Path) -> None:
    text = (
        "g (float[1] x, int64[1] i) => (float[1] a, float[1] b, int64[1] j) { a = Neg (x) b = Neg (x) j = Add (i, i) }"
    )
    model = save(tmp_path / "m", text)
    found = run(model, {"x": np.float32([0.1]), "i": np.array([2**40 + 1])}, Precision(fp32_nodes=frozenset({"b"})))
    assert found["a"][0] == -np.float32(np.float16(0.1)) and found["b"][0] == -np.float32(0.1)
    assert found["j"][0] == 2**41 + 2  # integers are left alone


def test_subgraphs_and_functions_round_inside(tmp_path: Path) -> None:
    text = """<ir_version: 10, opset_import: ["": 18, "own": 1]>
    g (float[N] x, bool[1] yes) => (float[N] y, float[N] z) {
        y = If (yes) <then_branch = one () => (float[N] o) { s = Mul (x, x) o = Sub (s, s) },
                      else_branch = two () => (float[N] p) { p = Identity (x) }>
        z = own.square (x)
    }
    <domain: "own", opset_import: ["": 18]> square (v) => (w) { t = Mul (v, v) w = Sub (t, t) }"""
    model = save(tmp_path / "m", text)
    x = {"x": np.float32([1, 300]), "yes": np.array([True])}
    found = run(model, x, Precision())
    for name in ("y", "z"):
        assert found[name][0] == 0 and np.isnan(found[name][1]), name
    assert run(model, x, Precision(fp32_nodes=frozenset({"s", "o"})))["y"].tolist() == [0, 0]
    kept = run(model, {**x, "x": np.float32([0.1, 1])}, Precision(fp32_nodes=frozenset({"y", "p", "o"})))
    assert kept["y"].tolist() == [0, 0]
    away = {"x": np.float32([0.1, 1]), "yes": np.array([False])}
    assert run(model, away, Precision(fp32_nodes=frozenset({"y", "p"})))["y"][0] == np.float32(0.1)
    assert run(model, away, Precision(fp32_nodes=frozenset({"p"})))["y"][0] == np.float32(np.float16(0.1))


def test_a_loop_carries_fp16(tmp_path: Path) -> None:
    text = """g (float[1] x, int64 n) => (float[1] y) {
        go = Constant <value = bool {1}> ()
        y = Loop (n, go, x) <body = b (int64 i, bool c, float[1] a) => (bool d, float[1] e) {
            d = Identity (c)  e = Mul (a, a) }> }"""
    model = save(tmp_path / "m", text)
    x = {"x": np.float32([1.1]), "n": np.array(3)}
    want = np.float32([1.1])
    for _ in range(4):
        want = round_fp16(want) if _ == 0 else round_fp16(want * want)
    assert run(model, x, Precision())["y"] == want
    assert run(model, x, Precision(fp32_nodes=frozenset({"e", "y"})))["y"] == pytest.approx(1.1**8, rel=1e-6)


def test_weights_of_products_are_kept_in_blocks_and_nothing_else_is(tmp_path: Path) -> None:
    text = """g (int64[3] ids, float[3,40] x)
        => (float[3,40] rows, float[3,70] a, float[3,70] b, float[3,70] c, float[40,40] d) {
        rows = Gather (table, ids)
        a = MatMul (x, turned)
        b = Gemm <transB = 1> (x, table, bias)
        c = Gemm (x, turned, bias)
        d = Gemm <transA = 1> (narrow, x)
    }"""
    noise = np.random.default_rng(0)
    table, narrow, x = (noise.standard_normal(s).astype(np.float32) for s in ((70, 40), (3, 40), (3, 40)))
    model = save(
        tmp_path / "m", text, table=table, turned=table.T.copy(), narrow=narrow, bias=noise.random(70, np.float32)
    )
    inputs = {"ids": np.array([1, 2, 69]), "x": x}
    found = run(model, inputs, Precision(half=False, weights="mxfp6"))
    assert (found["rows"] == table[[1, 2, 69]]).all()
    bias = numpy_helper.to_array(next(t for t in onnx.load(model.path).graph.initializer if t.name == "bias"))
    kept = mxfp6(table, 1).T
    for name, want in (("a", x @ kept), ("b", x @ kept + bias), ("c", x @ kept + bias), ("d", mxfp6(narrow, 0).T @ x)):
        np.testing.assert_allclose(found[name], want, rtol=1e-5, atol=1e-5, err_msg=name)
    own = run(model, inputs, Precision(half=False, weights="mxint8", fp32_nodes=frozenset({"a"})))
    np.testing.assert_allclose(own["a"], x @ table.T, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(own["c"], x @ mxint8(table, 1).T + bias, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape", [(64, 3), (40, 3), (2, 33, 5), (700, 2000)])
def test_a_weight_that_is_written_in_pieces_is_the_same_one(tmp_path: Path, shape: tuple[int, ...]) -> None:
    weight = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    dims = ",".join(map(str, (*shape[:-2], 1, shape[-1])))
    text = f"g (float[1,{shape[-2]}] x) => (float[{dims}] y) {{ y = MatMul (x, w) }}"
    model = save(tmp_path / "m", text, w=weight)
    made = emulated(model, tmp_path / "e", Precision(weights="mxfp6_e3m2"))
    [found] = [numpy_helper.to_array(t) for t in onnx.load(made.path).graph.initializer]
    assert (found == round_fp16(mxfp6(weight, -2, "e3m2"))).all()


def test_names_of_ours_that_the_graph_has_already_are_not_taken_twice(tmp_path: Path) -> None:
    text = """<ir_version: 10, opset_import: ["": 18]> g (float[1] x) => (float[1] y) {
        t = Mul (x, x)  "t/full" = Neg (t)  "t/fp16" = Mul ("t/full", t)  "t/half" = Mul (t, t)
        y = Add ("t/fp16", "t/half") }"""
    model, x = save(tmp_path / "m", text), {"x": np.float32([1.5])}
    once = emulated(model, tmp_path / "once", Precision())
    assert run(once, x, Precision())["y"] == run(model, x, Precision())["y"] == 0  # emulated again, it stays the same


def test_names_that_the_graph_does_not_have_are_errors(tmp_path: Path) -> None:
    model = tiny_graphs.make(tmp_path / "m")
    with pytest.raises(OptionError, match="fp32_nodes names .*'normd'. Did you mean 'normed'"):
        emulated(model, tmp_path / "e", Precision(fp32_nodes=frozenset({"normd"})))
    with pytest.raises(OptionError, match="watch names .*'w_up'"):
        emulated(model, tmp_path / "f", Precision(), watch=["w_up"])


def test_an_operator_without_a_known_type_is_refused(tmp_path: Path) -> None:
    text = """<ir_version: 10, opset_import: ["": 18, "com.microsoft": 1]>
    g (float[1] x) => (float[1] y) { t = com.microsoft.Gelu (x) y = Neg (t) }"""
    model = save(tmp_path / "m", text)
    with pytest.raises(TransformError, match="'t'") as caught:
        emulated(model, tmp_path / "e", Precision())
    assert "com.microsoft.Gelu" in str(caught.value)


def test_the_precision_of_a_program_is_that_of_its_options(tmp_path: Path) -> None:
    file = tmp_path / "precision.yaml"
    write(file, fp32=["a", "b"])
    card, host = Target("qaic", "fp16"), Target("qaic", "fp32")
    assert precision_of(CompileOptions(), card) == Precision()
    assert precision_of(CompileOptions(), host) == Precision(half=False)
    options = CompileOptions(flags={"mxfp6_matmul": True}, files={"node_precision_info": file})
    assert precision_of(options, card) == Precision(True, "mxfp6", frozenset({"a", "b"}))
    raw = CompileOptions(raw=("-convert-to-fp16", "-mxfp6-matmul", f"-node-precision-info={file}"))
    assert precision_of(raw, host) == precision_of(options, card)
    forced = CompileOptions(files={"raw_compiler_flags[0]": file}, raw=("-node-precision-info=gone.yaml",))
    assert precision_of(forced, card).fp32_nodes == {"a", "b"}  # the copy in the program's folder
    saved = CompileOptions(files={"node_precision_info": Path("precision.yaml")})  # as a card program's manifest has it
    assert precision_of(saved, card, tmp_path).fp32_nodes == {"a", "b"}
    assert precision_of(CompileOptions(files={"node_precision_info": file}), card, tmp_path / "other").fp32_nodes
