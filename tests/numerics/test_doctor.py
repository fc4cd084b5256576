"""The doctor's parts on graphs of a few nodes, on a deep model, and through the public class."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper

from QEfficient import QEFFAutoModel
from QEfficient.errors import NumericsError, UsageError, VerificationError
from QEfficient.numerics import precision_file
from QEfficient.numerics.bench import Bench
from QEfficient.numerics.check import Comparison
from QEfficient.numerics.diagnosis import Diagnosis
from QEfficient.numerics.doctor import LIMITS, diagnose
from QEfficient.numerics.emulate import Precision, open_emulated
from QEfficient.numerics.exponents import System
from QEfficient.numerics.first_bad import first_bad
from QEfficient.numerics.outline import inlined, outline
from QEfficient.numerics.ranges import ranges
from QEfficient.numerics.rewrites import FoldScales
from QEfficient.numerics.search import quickxplain, share
from QEfficient.numerics.verify import Criterion, Reference, Sample
from QEfficient.onnx_transforms import describe
from QEfficient.records import OnnxModel, Shape
from tests import tiny_graphs
from tests.numerics import planted
from tests.passes import graphs
from tests.tiny_repo import tiny_repo

HEAD = '<ir_version: 10, opset_import: ["": 18]>\n'


def save(folder: Path, text: str, **weights: np.ndarray) -> OnnxModel:
    model = onnx.parser.parse_model(HEAD + text)
    model.graph.initializer.extend(
        numpy_helper.from_array(np.asarray(array, np.float32), name) for name, array in weights.items()
    )
    onnx.checker.check_model(model)
    onnx.save_model(model, folder / "graph.onnx")
    return describe(folder / "graph.onnx")


def numbers(model: OnnxModel, *inputs: Mapping[str, np.ndarray]) -> list[Reference]:
    found = []
    with open_emulated(model, Precision(half=False), buckets=(Shape(64, 64),)) as session:
        for arrays in inputs:
            rows = len(next(iter(arrays.values())))
            found.append((Sample(arrays, tuple(f"row {row}" for row in range(rows))), session.run(arrays)))
    return found


def how(model: OnnxModel) -> Comparison:
    return Comparison("tiny", model.outputs)


def cure(model: OnnxModel, references: list[Reference], **more: Any) -> Diagnosis:
    return diagnose(model, Criterion(references, how(model), LIMITS), **more)


CHAIN = """
chain (float[batch_size, 4] x) => (float[batch_size, 4] y)
{
    large = Mul (x, up)
    turned = Neg (large)
    small = Mul (turned, down)
    y = Mul (small, one)
}
"""
X = np.array([[0.5, 1, 2, -8], [6, 0, -0.25, 1]], np.float32)


@pytest.fixture
def chain(tmp_path: Path) -> OnnxModel:
    return save(tmp_path, CHAIN, up=2.0**14, down=2.0**-14, one=1)


# ---------------------------------------------------------------------------------------------- ranges


def test_ranges_of_values_and_weights(tmp_path: Path) -> None:
    text = "g (float[batch_size, 8] x) => (float[batch_size, 8] y) { s = Add (x, w)  y = Mul (s, t) }"
    weight = np.array([0, 1, 2, 1000, -3, 1e-9, 5, 6], np.float32)
    model = save(tmp_path, text, w=weight, t=1e5)
    x = np.zeros((3, 8), np.float32)
    x[1, 2], x[2, 3] = -1, 1e6
    [(sample, _)] = numbers(model, {"x": x})
    found = {met.name: met for met in ranges(model, [sample])}
    assert list(found) == ["s", "y", "w", "t"]
    total = found["s"]
    assert (total.node, total.op, total.module, total.row) == ("s", "Add", "", "row 2")
    assert total.largest == np.float32(1e6) + 1000 and total.smallest == np.float32(1e-9)
    assert total.overflows and total.lost == np.inf and total.channel == 3
    assert not found["w"].overflows and found["w"].largest == 1000 and found["w"].smallest == np.float32(1e-9)
    assert found["w"].lost == pytest.approx(1e-9 / np.linalg.norm(weight), rel=1e-5)  # all else is exact in fp16
    assert found["t"].overflows and found["t"].node == ""


def test_the_largest_of_several_samples_is_kept(chain: OnnxModel) -> None:
    samples = [sample for sample, _ in numbers(chain, {"x": X}, {"x": 4 * X}, {"x": X / 64})]
    met = next(one for one in ranges(chain, samples) if one.name == "turned")
    assert met.largest == 32 * 2**14 and met.smallest == 0.25 / 64 * 2**14


# ---------------------------------------------------------------------------------------------- the search


@given(st.data())
@settings(max_examples=60)
def test_quickxplain_finds_exactly_what_is_needed(data: st.DataObject) -> None:
    names = [f"n{number}" for number in range(data.draw(st.integers(1, 30)))]
    needed = frozenset(data.draw(st.lists(st.sampled_from(names), unique=True)))
    assert frozenset(quickxplain(lambda chosen: needed <= chosen, names)) == needed


def test_quickxplain_keeps_the_first_of_two_that_do() -> None:
    assert quickxplain(lambda chosen: bool({"b", "d"} & chosen), ["a", "b", "c", "d"]) == ["b"]


def test_the_bench_computes_what_the_emulation_does(tmp_path: Path) -> None:
    model = tiny_graphs.make(tmp_path, token_types=True)
    arrays = tiny_graphs.feed(3, 7, 20, token_types=True)
    names = [node.name for node in outline(inlined(model))]
    bench = Bench(model)
    random = np.random.default_rng(0)
    for share_of in (0.0, 0.5, 1.0):
        chosen = frozenset(name for name in names if random.random() < share_of)
        with open_emulated(model, Precision(fp32_nodes=chosen), buckets=(Shape(64, 64),)) as session:
            want = session.run(arrays)["output"]
        got = bench.run(arrays, chosen)["output"]
        np.testing.assert_allclose(got, want, rtol=2e-3, atol=2e-3)  # sums in another order flip a last bit of fp16
        close = np.abs(got - want) < 1e-6
        assert close.mean() > 0.9
    with open_emulated(model, Precision(half=False), buckets=(Shape(64, 64),)) as session:
        full = session.run(arrays)["output"]
    np.testing.assert_allclose(bench.run(arrays, frozenset(names))["output"], full, atol=1e-6)


def test_a_node_of_an_inner_graph_is_found_too(tmp_path: Path) -> None:
    text = """g (float[batch_size, 4] x) => (float[batch_size, 4] y)
    {
        top = ReduceMax <keepdims = 0> (x)
        flag = Greater (top, zero)
        first = Mul (x, one)
        chosen = If (flag) <
            then_branch = then () => (float[batch_size, 4] t) { large = Mul (first, up)  t = Mul (large, down) },
            else_branch = otherwise () => (float[batch_size, 4] e) { e = Neg (first) }
        >
        y = Mul (chosen, one)
    }"""
    model = save(tmp_path, text, up=2.0**14, down=2.0**-14, one=1, zero=0)
    arrays = {"x": X}
    reference = numbers(model, arrays)
    bench = Bench(model)
    assert {"large", "t", "chosen", "first"} <= {*bench.nodes}
    for fp32 in (frozenset(), frozenset({"large"}), frozenset({"large", "t"}), frozenset(bench.nodes)):
        with open_emulated(model, Precision(fp32_nodes=fp32), buckets=(Shape(64, 64),)) as session:
            np.testing.assert_array_equal(bench.run(arrays, fp32)["y"], session.run(arrays)["y"])
    found = cure(model, reference)
    assert found.fp32_nodes == ("large", "t") and found.after.passed


def test_what_is_read_two_graphs_deep_is_known(tmp_path: Path) -> None:
    text = """g (float[batch_size, 4] x) => (float[batch_size, 4] y)
    {
        scaled = Mul (x, one)
        top = ReduceMax <keepdims = 0> (x)
        flag = Greater (top, zero)
        y = If (flag) <
            then_branch = then () => (float[batch_size, 4] t) {
                t = If (flag) <
                    then_branch = inner () => (float[batch_size, 4] a) { a = Neg (scaled) },
                    else_branch = other () => (float[batch_size, 4] b) { b = Abs (x) }
                >
            },
            else_branch = otherwise () => (float[batch_size, 4] e) { e = Neg (x) }
        >
    }"""
    graph = inlined(save(tmp_path, text, one=1, zero=0))
    branch = next(node for node in outline(graph) if node.name == "y")
    assert {"scaled", "x"} <= {*branch.inputs}
    scaled = next(node.outputs[0] for node in graph.graph if node.op_type == "Mul")
    assert not list(System(graph.graph).solutions(scaled))  # a factor in it would change what the branch gives


def test_a_chain_is_cured_by_exactly_its_nodes(chain: OnnxModel, tmp_path: Path) -> None:
    found = cure(chain, numbers(chain, {"x": X}), flops={"large": 3.0, "y": 5.0})
    assert found.before.not_finite == 2 and found.after.passed
    assert found.fp32_nodes == ("large", "turned", "small") and found.fp32_share == 3 / 8
    told = [(one.kind, one.node) for one in found.findings]
    assert told == [("overflow", "large"), ("overflow", "small")]  # Neg only passes it on
    assert "reads" in found.findings[1].text
    file = found.write(tmp_path / "nodes.yaml")
    assert precision_file.read(file).fp32 == {"large", "turned", "small"}
    again = Diagnosis.from_json(json.loads(json.dumps(found.to_json())))
    assert again == found
    for text in ("overflow", "Mul large", "3 nodes in fp32, 37.5% of the FLOPs", "NaN or Inf", "min cosine"):
        assert text in str(found)


def test_the_margin_decides_what_is_near(chain: OnnxModel) -> None:
    reference = numbers(chain, {"x": X / 8})  # up to 16384: 25 % of 65504
    assert not cure(chain, reference).findings
    near = cure(chain, reference, margin=0.1)
    assert [(one.kind, one.node) for one in near.findings if one.node == "large"] == [("near", "large")] * 2
    assert near.healthy and not near.fp32_nodes
    assert "25% of fp16's largest number" in " ".join(one.text for one in near.findings)


def test_what_fits_but_needs_to_be_exact_is_a_loss(tmp_path: Path) -> None:
    text = """g (float[batch_size, 4] x) => (float[batch_size, 4] y)
    { a = Add (x, far)  b = Add (a, back)  y = Mul (b, two) }"""
    model = save(tmp_path, text, far=2048.5, back=-2048.5, two=2)
    found = cure(model, numbers(model, {"x": X}))
    assert not found.healthy and not found.before.not_finite and found.after.passed
    assert set(found.fp32_nodes) == {"a", "b"}
    assert {(one.kind, one.node) for one in found.findings} == {("loss", "a"), ("loss", "b")}


def test_limits_that_fp32_does_not_meet_are_an_error(chain: OnnxModel) -> None:
    [(sample, outputs)] = numbers(chain, {"x": X})
    wrong = [(sample, {"y": outputs["y"][:, ::-1].copy()})]
    with pytest.raises(NumericsError, match="every node in fp32"):
        cure(chain, wrong)


@pytest.mark.parametrize(("margin", "samples"), [(0.0, 1), (1.5, 1), (0.5, 0)])
def test_wrong_arguments(chain: OnnxModel, margin: float, samples: int) -> None:
    with pytest.raises(UsageError):
        cure(chain, numbers(chain, {"x": X})[:samples], margin=margin)


def test_functions_are_refused(chain: OnnxModel) -> None:
    with pytest.raises(UsageError, match="functions"):
        cure(replace(chain, functions=True), numbers(chain, {"x": X}))


def test_the_share_of_a_graph_without_flops_is_zero() -> None:
    assert share(["a"], {}) == 0.0


# ---------------------------------------------------------------------------------------------- the first bad node


def test_first_bad_is_where_it_starts_not_what_is_harmless(tmp_path: Path) -> None:
    text = """g (float[batch_size, 4] x, float[batch_size, 4] mask) => (float[batch_size, 4] y)
    {
        far = Mul (mask, many)
        farther = Mul (far, many)
        fill = Neg (farther)
        half = Mul (x, many)
        scores = Mul (half, many)
        masked = Add (scores, fill)
        y = Softmax <axis = -1> (masked)
    }"""
    model = save(tmp_path, text, many=300)
    mask = np.array([[0, 0, 0, 2]], np.float32)
    fine = {"x": X[:1] / 300, "mask": mask}  # the mask is -Inf, and no output shows it
    assert first_bad(model, fine, Precision()) is None
    arrays = {"x": np.concatenate([X[:1] / 300, X[:1]]), "mask": np.concatenate([mask, mask])}
    found = first_bad(model, arrays, Precision())
    assert found is not None and found.node == "scores" and found.place == "Mul 'scores'"
    assert first_bad(model, arrays, Precision(half=False)) is None


# ---------------------------------------------------------------------------------------------- rewrites

ATTENTION = """
g (float[batch_size, 3, 4] x, float[batch_size, 3, 3] p) => (float[batch_size, 3, 4] y)
{
    v = MatMul (x, wv)
    b = Add (v, bv)
    mixed = MatMul (p, b)
    o = MatMul (mixed, wo)
    y = Tanh (o)
}
"""


def test_a_power_of_two_is_folded_and_no_bit_changes(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    wv, wo, bv = (random.standard_normal(shape).astype(np.float32) for shape in ((4, 4), (4, 4), (4,)))
    model = save(tmp_path, ATTENTION, wv=wv * 2**17, bv=bv * 2**17, wo=wo / 2**17)
    arrays = {"x": random.standard_normal((5, 3, 4), np.float32), "p": random.random((5, 3, 3), np.float32)}
    reference = numbers(model, arrays)
    found = cure(model, reference, rewrite_to=tmp_path / "new")
    assert found.before.not_finite and found.after.passed and not found.fp32_nodes
    [done] = found.rewrites
    assert done.values == ("v", "b", "mixed") and set(done.weights) == {"wv", "bv", "wo"} and done.exponent < -10
    assert found.onnx_path is not None
    again = numbers(describe(found.onnx_path), arrays)
    np.testing.assert_array_equal(again[0][1]["y"], reference[0][1]["y"])


def test_a_healthy_graph_is_not_rewritten(tmp_path: Path) -> None:
    model = save(tmp_path, ATTENTION, wv=np.eye(4), bv=np.ones(4), wo=np.eye(4))
    arrays = {"x": np.ones((2, 3, 4), np.float32), "p": np.ones((2, 3, 3), np.float32)}
    found = cure(model, numbers(model, arrays), rewrite_to=tmp_path / "new")
    assert not found.rewrites and found.onnx_path is None and not (tmp_path / "new").exists()


SOLVED = {
    "an activation allows none": ("a = MatMul (x, w)  y = Tanh (a)", "a", []),
    "a weight on each side": (
        "a = MatMul (x, w)  b = Relu (a)  c = MatMul (b, w)  y = Tanh (c)",
        "a",
        [{"a": 1, "b": 1}],
    ),
    "a query and a key": (
        "q = MatMul (x, w)  k = MatMul (x, w)  t = Transpose <perm = [1, 0]> (k)  s = MatMul (q, t)  y = Softmax (s)",
        "q",
        [{"q": 1, "k": -1, "t": -1}],
    ),
    "a residual that a norm absorbs": (
        "n = LayerNormalization (x, g)  u = MatMul (n, w)  f = Tanh (u)  d = MatMul (f, w)  r = Add (d, n)"
        "  y = LayerNormalization (r, g)",
        "n",
        [{"n": 1, "d": 1, "r": 1}],
    ),
    "a norm written out": (
        "h = MatMul (x, w)  s = Mul (h, h)  v = Add (s, e)  r = Sqrt (v)  y = Div (h, r)",
        "s",
        [{"h": "1/2", "s": 1, "v": 1, "r": "1/2"}],
    ),
    "what comes in is fixed": ("a = Add (x, x)  y = MatMul (a, w)", "a", []),
    "a clip moves its bounds": ("a = MatMul (x, w)  b = Clip (a, e)  y = MatMul (b, w)", "b", [{"a": 1, "b": 1}]),
}


@pytest.mark.parametrize("name", SOLVED)
def test_which_values_may_be_scaled_together(name: str) -> None:
    body, seed, expected = SOLVED[name]
    text = f"g (float[4, 4] x) => (float[4, 4] y) <float[4, 4] w, float[4] g, float e> {{ {body} }}"
    proto = onnx.parser.parse_model(HEAD + text)
    fill = {"w": np.ones((4, 4)), "g": np.ones(4), "e": np.array(1e-6)}
    proto.graph.initializer.extend(numpy_helper.from_array(v.astype(np.float32), k) for k, v in fill.items())
    graph = ir.from_proto(onnx.shape_inference.infer_shapes(proto)).graph
    value = next(made for node in graph for made in node.outputs if made.name == seed)
    found = [{str(k.name): str(v) for k, v in one.items()} for one in System(graph).solutions(value)]
    assert found == [{k: str(v) for k, v in one.items()} for one in expected]


@pytest.mark.parametrize(("inputs", "modified"), [(X, True), (X / 64, False)])
def test_folding_reports_truly_whether_it_did(inputs: np.ndarray, modified: bool, chain: OnnxModel) -> None:
    found = ranges(chain, [sample for sample, _ in numbers(chain, {"x": inputs})])
    graph = inlined(chain)
    assert FoldScales(found, 0.5)(graph).modified is modified
    [y] = graphs.compute(graph, {"x": X})
    np.testing.assert_array_equal(y, -X)


def test_what_nothing_is_known_of_stays_as_it_is(tmp_path: Path) -> None:
    text = (
        '<ir_version: 10, opset_import: ["": 18, "foreign": 1]>\n'
        + """
    g (float[2, 4] x) => (float[2, 4] y) <float a = {1e6}, float b = {1e-6}>
    { large = Mul (x, a)  odd = foreign.Twist (large)  small = Mul (odd, b)  y = Tanh (small) }"""
    )
    graph = ir.from_proto(onnx.parser.parse_model(text)).graph
    assert list(System(graph).solutions(graph[0].outputs[0])) == []


# ---------------------------------------------------------------------------------------------- whole models


def test_faults_in_two_layers_of_a_deep_model(tmp_path: Path) -> None:
    model = planted.deep(tmp_path, layers=12)
    arrays = {"h0": np.random.default_rng(0).standard_normal((6, 9, 16), np.float32)}
    assert cure(model, numbers(model, arrays)).healthy
    faulty = planted.plant(model, tmp_path / "faulty", planted.value(4, 17), planted.norm(9, 17))
    reference = numbers(faulty, arrays)
    np.testing.assert_array_equal(reference[0][1]["h12"], numbers(model, arrays)[0][1]["h12"])
    found = cure(faulty, reference)
    assert found.before.not_finite and found.after.min_cosine >= 0.999
    modules = {one.module for one in found.findings if one.kind == "overflow"}
    assert {path.split(".")[1] for path in modules} == {"4", "9"}
    assert 4 < len(found.fp32_nodes) < 20
    cured = cure(faulty, reference, rewrite_to=tmp_path / "new")
    assert [one.module for one in cured.rewrites] == [
        "layer.4.attention.self.value",
        "layer.9.attention.output.LayerNorm",
    ]
    assert not cured.fp32_nodes and cured.after.passed


def test_the_public_road_from_refusal_to_cure(tmp_path: Path) -> None:
    folder = tiny_repo(tmp_path / "repo", layers=1)
    module = transformers.AutoModel.from_pretrained(folder)
    planted.rescale_value(module, 0, 15)
    module.save_pretrained(folder)
    del module
    model = QEFFAutoModel.from_pretrained(folder, pooling="mean")
    with pytest.raises(VerificationError, match=r"layer\.0\.attention\.self\.value"):
        model.compile(backend="emulator", seq_len=32)
    found = model.doctor()
    assert not found.healthy and found.after.min_cosine >= 0.999 and 0 < found.fp32_share < 1
    assert found.before.reference == "the graph in fp32 on the host"
    model.compile(backend="emulator", seq_len=32, node_precision_info=True)
    first = model.program_path
    assert model._loaded.program.manifest.verify["min_cosine"] >= 0.999
    model.compile(backend="emulator", seq_len=32, node_precision_info=found.path)
    assert model.program_path == first  # the file's content is what counts
    again = (
        "import sys; from QEfficient import QEFFAutoModel;"
        f"model = QEFFAutoModel.from_pretrained({str(folder)!r}, pooling='mean');"
        "model.compile(backend='emulator', seq_len=32, node_precision_info=True);"
        f"assert str(model.program_path) == {str(first)!r};"
        "assert not {'torch', 'transformers', 'onnx', 'onnx_ir'} & {*sys.modules}"
    )
    subprocess.run([sys.executable, "-c", again], check=True)
    vectors = model.encode(["A parcel.", "A letter."])
    assert np.isfinite(vectors).all()

    rewritten = model.doctor(["Some text of mine."], rewrite=True)
    assert rewritten.rewrites and rewritten.path is None and rewritten.onnx_path is not None
    model.compile(onnx_path=rewritten.onnx_path, node_precision_info=rewritten.path, backend="emulator", seq_len=32)
    np.testing.assert_allclose(model.encode(["A parcel.", "A letter."]), vectors, atol=2e-3)
    assert torch.is_tensor(model.encode("A parcel.", convert_to_tensor=True))

    model.save_pretrained(tmp_path / "saved")
    saved = QEFFAutoModel.from_pretrained(tmp_path / "saved")
    assert saved.doctor(limits={"min_cosine": LIMITS.min_cosine}).healthy
