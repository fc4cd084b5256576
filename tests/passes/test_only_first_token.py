"""What only the first token needs: what is narrowed, that its numbers stay, and what is left whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import transformers
from numpy.typing import NDArray

from QEfficient import QEFFAutoModelForImageClassification, QEFFAutoModelForSequenceClassification
from QEfficient.onnx_transforms import DEFAULT, apply
from QEfficient.onnx_transforms.only_first_token import OnlyFirstToken
from QEfficient.pytorch_transforms.embedding import text_inputs
from tests import tiny_models
from tests.exported import export
from tests.passes.graphs import LAYER, compute, layer

FEED_FORWARD = """
    n = LayerNormalization (y, gain, shift)
    f0 = MatMul (n, wq)
    f1 = Add (f0, bq)
    f2 = Erf (f1)
    f3 = Mul (f1, f2)
    f4 = MatMul (f3, wk)
    f = Add (f4, n)
    first = Gather <axis = 1> (f, zero)
}
"""
WHOLE = (
    LAYER.replace("(float[b, s, 8] y)", "(float[b, 8] first)")
    .replace("int64[2] axes", "int64 zero = {0}, int64[2] axes")
    .replace("y = Add (o, x)\n}\n", f"y = Add (o, x){FEED_FORWARD}")
)


def feed() -> dict[str, NDArray[np.generic]]:
    states = np.random.default_rng(1).standard_normal((3, 5, 8)).astype(np.float32)
    return {"h": states, "mask": np.array([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [0, 1, 1, 1, 1]], np.int64)}


def shapes(graph: ir.Model) -> dict[str, list[object]]:
    """Name → sizes; free dims by name."""
    values = [value for node in graph.graph for value in node.outputs if value.shape is not None]
    return {str(v.name): [d if isinstance(d, int) else d.value for d in v.shape] for v in values if v.shape}


def test_everything_behind_keys_and_values_is_narrowed() -> None:
    graph = layer(WHOLE)
    assert OnlyFirstToken()(graph).modified
    found = shapes(graph)
    assert {name: found[name][1] for name in ("q0", "o0", "y", "n", "f0", "f3", "f4", "f")} == dict.fromkeys(
        ("q0", "o0", "y", "n", "f0", "f3", "f4", "f"), 1
    )
    assert (found["p"], found["k0"], found["v0"]) == (["b", 2, 1, "s"], ["b", "s", 8], ["b", "s", 8])
    checked = onnx.shape_inference.infer_shapes(ir.to_proto(graph), strict_mode=True, data_prop=True)
    onnx.checker.check_model(checked, full_check=True)
    assert [node.op_type for node in graph.graph].count("Slice") == 1
    assert np.allclose(compute(graph, feed())[0], compute(layer(WHOLE), feed())[0], atol=1e-6)
    assert not OnlyFirstToken()(graph).modified


def test_a_mask_of_its_own_for_each_token_is_cut() -> None:
    text = WHOLE.replace("int64[b, s] mask)", "float[b, 1, s, s] causal)").replace(
        "l = Add (l0, m)", "l = Add (l0, causal)"
    )
    for name in (
        "m0 = Unsqueeze (mask, axes)",
        "m1 = Cast <to = 1> (m0)",
        "m2 = Sub (one, m1)",
        "m = Mul (m2, lowest)",
    ):
        text = text.replace(f"    {name}\n", "")
    graph = layer(text)
    assert OnlyFirstToken()(graph).modified
    inputs = {"h": feed()["h"], "causal": np.random.default_rng(2).standard_normal((3, 1, 5, 5)).astype(np.float32)}
    assert np.allclose(compute(graph, inputs)[0], compute(layer(text), inputs)[0], atol=1e-6)
    assert [node.op_type for node in graph.graph].count("Slice") == 2


@pytest.mark.parametrize(
    "change",
    [
        ("zero = {0}", "zero = {1}"),
        ("<axis = 1> (f, zero)", "<axis = 0> (f, zero)"),
        ("(float[b, 8] first)", "(float[b, 8] first, float[b, s, 8] f)"),
        ("first = Gather <axis = 1> (f, zero)", "g = Softmax <axis = 1> (f)\n    first = Gather <axis = 1> (g, zero)"),
        (
            "first = Gather <axis = 1> (f, zero)",
            "g = Gather <axis = 1> (f, zero)\n    first = ReduceMax <keepdims = 0> (f)",
        ),
    ],
    ids=["second token", "first row", "all are a result", "norm over tokens", "all are read"],
)
def test_what_others_read_stays_whole(change: tuple[str, str]) -> None:
    graph = layer(WHOLE.replace(*change))
    before = ir.to_proto(graph).SerializeToString(deterministic=True)
    assert not OnlyFirstToken()(graph).modified
    assert ir.to_proto(graph).SerializeToString(deterministic=True) == before


def test_a_value_that_others_read_ends_the_walk() -> None:
    """The feed-forward layer is narrowed; attention is not, because all of its result is read."""
    text = WHOLE.replace("(float[b, 8] first)", "(float[b, 8] first, float[b, s, 8] y)")
    graph = layer(text)
    assert OnlyFirstToken()(graph).modified
    found = shapes(graph)
    assert (found["o0"][1], found["f0"][1]) == ("s", 1)
    assert all(
        np.allclose(a, b, atol=1e-6) for a, b in zip(compute(graph, feed()), compute(layer(text), feed()), strict=True)
    )


def test_without_a_product_to_gain_nothing_changes() -> None:
    graph = layer(WHOLE.replace("f = Add (f4, n)", "f5 = Add (f4, n)\n    f = Softmax <axis = 1> (f5)"))
    assert not OnlyFirstToken()(graph).modified


@pytest.mark.parametrize(
    ("text", "inputs"),
    [
        (
            "(float[b, s, 3, 8] r, float[8] w) => (float[b, 3] y) {{ p = MatMul (r, w) {end} }}",
            {"r": (2, 5, 3, 8), "w": (8,)},
        ),
        (
            "(float[b, s, 8] r, float[8, 8] w, float[s, 8] g) => (float[b, 8] y)"
            " {{ m = MatMul (r, w) p = LayerNormalization <axis = 2> (m, g) {end} }}",
            {"r": (2, 5, 8), "w": (8, 8), "g": (5, 8)},
        ),
        (
            "(float[b, s, 8] r, float[8, 8] w, int64[3] sizes) => (float[t, 8] y)"
            " {{ m = MatMul (r, w) p = Reshape (m, sizes) {end} }}",
            {"r": (2, 5, 8), "w": (8, 8)},
        ),
    ],
    ids=["a product with a vector", "a norm with gains for each token", "unknown sizes"],
)
def test_dims_that_only_look_alike(text: str, inputs: dict[str, tuple[int, ...]]) -> None:
    graph_text = f'<ir_version: 10, opset_import: ["": 18]> g {text.format(end="y = Gather <axis = 1> (p, zero)")}'
    graph_text = graph_text.replace("y) {", "y) <int64 zero = {0}> {")
    proto = onnx.shape_inference.infer_shapes(onnx.parser.parse_model(graph_text))
    numbers = np.random.default_rng(0)
    arrays = {name: numbers.standard_normal(shape).astype(np.float32) for name, shape in inputs.items()}
    if "sizes" in text:
        arrays["sizes"] = np.array([5, 2, 8], np.int64)
    graph = ir.from_proto(proto)
    OnlyFirstToken()(graph)
    expected = compute(ir.from_proto(proto), arrays)[0]
    assert np.allclose(compute(graph, arrays)[0], expected, atol=1e-6)


@pytest.mark.parametrize("model_type", ["bert", "roberta"])
def test_the_pooler_of_a_model(model_type: str, tmp_path: Path) -> None:
    module = tiny_models.chain(tiny_models.tiny(model_type), "pooler_output")
    (tmp_path / "export").mkdir()
    found = export(module, inputs=text_inputs(module.encoder), folder=tmp_path / "export")
    plain = apply(found, tmp_path / "plain", passes=tuple(one for one in DEFAULT if one is not OnlyFirstToken))
    less = apply(found, tmp_path / "less")
    saved = [sum(size(ir.load(one.path))) for one in (plain, less)]
    assert saved[1] < 0.75 * saved[0]  # of two layers
    for padding in ("none", "left", "right", "holes"):
        batch = {name: tensor.numpy() for name, tensor in tiny_models.batch(5, 9, padding=padding).items()}
        arrays = {spec.name: batch[spec.name] for spec in plain.inputs}
        old, new = (compute(one.path, arrays)[0] for one in (plain, less))
        assert np.abs(old - new).max() <= 1e-5 * np.abs(old).max()


def size(graph: ir.Model, length: int = 9) -> list[int]:
    """Numbers that each product with weights gives for a row."""
    counts = []
    for node in graph.graph:
        if node.op_type == "MatMul" and node.inputs[1] is not None and node.inputs[1].is_initializer():
            shape = node.outputs[0].shape
            assert shape is not None
            counts.append(int(np.prod([d if isinstance(d, int) else length for d in list(shape)[1:]])))
    return counts


CLASSIFIERS = {
    "bert": transformers.BertForSequenceClassification,
    "roberta": transformers.RobertaForSequenceClassification,
    "distilbert": transformers.DistilBertForSequenceClassification,
}


@pytest.mark.parametrize("model_type", CLASSIFIERS)
def test_classifiers_of_transformers_take_the_first_token(model_type: str) -> None:
    kind, (_, arguments) = CLASSIFIERS[model_type], tiny_models.CONFIGS[model_type]
    model = QEFFAutoModelForSequenceClassification(kind(kind.config_class(**arguments)))
    products = size(ir.load(model.export()))
    width = 32 * 9
    assert products.count(width) == 4 + 2 + 1  # a whole first layer but its wide product; keys and values of the last
    assert products.count(32) >= 3  # the last layer's queries, projection and narrow product


def test_a_picture_model_too() -> None:
    config = transformers.ViTConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48, image_size=32, patch_size=8
    )
    model = QEFFAutoModelForImageClassification(transformers.ViTForImageClassification(config))
    assert size(ir.load(model.export())).count(32) >= 3
