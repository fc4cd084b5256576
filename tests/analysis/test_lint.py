"""Every rule finds what it is about, names where it is, and leaves a sound graph alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from QEfficient.analysis.costs import bucket_costs
from QEfficient.analysis.lint import RULES, LintContext, lint
from QEfficient.analysis.memory import weights_of
from QEfficient.analysis.record import LintFinding
from QEfficient.numerics.walk import walk
from QEfficient.onnx_transforms import read
from QEfficient.records import OnnxModel, Shape
from tests import tiny_graphs
from tests.analysis.graphs import BUCKET, random, write

X = "float[batch_size, seq_len, 32] x"


def findings(model: OnnxModel, buckets: tuple[Shape, ...] = (BUCKET,)) -> list[LintFinding]:
    loaded = read(model.path)
    costs = tuple(bucket_costs(model, bucket) for bucket in buckets)
    return list(lint(LintContext(loaded, walk(model, buckets[0]), weights_of(loaded), costs)))


def body(text: str, inputs: str = X) -> str:
    return f"g ({inputs}) => (float[?] y) {{ {text} }}"


# Rule → level, operator, name of the node, and a graph that breaks it.
BROKEN: dict[str, tuple[str, str, str, str, Mapping[str, np.ndarray]]] = {
    "data-dependent-shape": (
        "error", "NonZero", "places",
        body("places = NonZero (x)\n f = Cast <to = 1> (places)\n y = Tanh (f)"), {},
    ),
    "control-flow": (
        "warning", "If", "y",
        body("""t = ReduceSum <keepdims = 0> (x)
                o = Constant <value = float {0}> ()
                c = Less (t, o)
                y = If (c) <then_branch = a () => (float[q] p) { p = Tanh (x) },
                            else_branch = b () => (float[q] r) { r = Abs (x) }>"""), {},
    ),
    "trilu-diagonal": (
        "error", "Trilu", "y",
        body("k = Constant <value_ints = [1]> ()\n y = Trilu (x, k)"), {},
    ),
    "einsum": (
        "warning", "Einsum", "y",
        body('y = Einsum <equation = "bij,bkj->bik"> (x, x)'), {},
    ),
    "foreign-operator": (
        "error", "com.microsoft.Gelu", "y",
        '<ir_version: 10, opset_import: ["": 18, "com.microsoft": 1]>\n' + body("y = com.microsoft.Gelu (x)"), {},
    ),
    "decomposed-norm": (
        "note", "ReduceMean", "mean",
        body("""two = Constant <value = float {2}> ()
                s = Pow (x, two)
                axis = Constant <value_ints = [-1]> ()
                mean = ReduceMean (s, axis)
                eps = Constant <value = float {0.000001}> ()
                e = Add (mean, eps)
                root = Sqrt (e)
                y = Div (x, root)"""), {},
    ),
    "wide-integer": (
        "warning", "Mul", "m",
        body("""n = Constant <value = int64 {4294967296}> ()
                m = Mul (ids, n)
                y = Cast <to = 1> (m)""", "int64[batch_size, seq_len] ids"), {},
    ),
    "mx-block": (
        "note", "MatMul", "y",
        body("y = MatMul (x, w)", "float[batch_size, seq_len, 40] x"), {"w": random(40, 8)},
    ),
}  # fmt: skip


@pytest.mark.parametrize("rule", BROKEN)
def test_a_rule_finds_its_node_and_module(rule: str, tmp_path: Path) -> None:
    level, op, node, text, weights = BROKEN[rule]
    found = [one for one in findings(write(tmp_path, text, weights, {node: "layer.3.part"})) if one.rule == rule]
    assert [(one.level, one.op, one.nodes, one.modules) for one in found] == [(level, op, (node,), ("layer.3.part",))]


def test_constants_past_fp16_and_bfloat16_name_the_weight_and_who_uses_it(tmp_path: Path) -> None:
    weights: dict[str, np.ndarray] = {"far": np.full(32, -1e9, np.float32), "half": np.ones(32, ml_dtypes.bfloat16)}
    text = body("m = Add (x, far)\n h = Cast <to = 1> (half)\n y = Mul (m, h)")
    found = {one.rule: one for one in findings(write(tmp_path, text, weights, {"m": "mask", "h": "layer.0"}))}
    assert (found["constant-beyond-fp16"].nodes, found["constant-beyond-fp16"].modules) == (("far",), ("mask",))
    assert (found["bfloat16"].nodes, found["bfloat16"].modules) == (("half",), ("layer.0",))


def test_infinity_is_meant_and_no_finding(tmp_path: Path) -> None:
    model = write(tmp_path, body("y = Add (x, far)"), {"far": np.full(32, -np.inf, np.float32)})
    assert findings(model) == []


def test_an_opset_that_nobody_was_seen_to_use(tmp_path: Path) -> None:
    text = '<ir_version: 10, opset_import: ["": 21]>\n' + body("y = Tanh (x)")
    assert [one.rule for one in findings(write(tmp_path, text))] == ["opset"]


def test_a_vocabulary_s_logits_are_a_large_output(tmp_path: Path) -> None:
    model = write(tmp_path, body("y = MatMul (x, w)"), {"w": random(32, 30_000)})
    buckets = (Shape(8), Shape(128))
    found = [one for one in findings(model, buckets) if one.rule == "large-output"]
    assert len(found) == 1 and "15 MB a row at 128" in found[0].text
    assert not [one for one in findings(model, (Shape(8),)) if one.rule == "large-output"]


def test_more_buckets_than_usual(tmp_path: Path) -> None:
    model = write(tmp_path, body("y = Tanh (x)"))
    assert [one.rule for one in findings(model, tuple(Shape(size) for size in range(8, 23)))] == ["many-buckets"]
    assert findings(model, tuple(Shape(size) for size in range(8, 22))) == []


def test_errors_come_first_and_every_finding_has_its_source(tmp_path: Path) -> None:
    text = body(
        'places = NonZero (x)\n f = Cast <to = 1> (places)\n e = Einsum <equation = "ij->ji"> (f)\n y = Tanh (e)'
    )
    found = findings(write(tmp_path, text))
    assert [one.level for one in found] == ["error", "warning"]
    assert all(one.source and one.text and one.do for one in found)


def test_rules_say_what_they_are_about() -> None:
    assert all(rule.__doc__ for rule in RULES)
    assert len(RULES) == len(set(RULES))


def test_a_sound_encoder_has_no_findings(tmp_path: Path) -> None:
    assert [one for one in findings(tiny_graphs.make(tmp_path)) if one.level != "note"] == []
