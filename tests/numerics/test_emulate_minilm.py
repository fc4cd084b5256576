"""The emulation on the real MiniLM: how far it moves real texts, and what a second emulator makes of the same graph."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from benchmarks.precision import PRECISIONS, cosines, embed
from QEfficient.numerics.emulate import Precision, emulated, open_emulated
from QEfficient.onnx_transforms import apply
from QEfficient.onnx_transforms.layer_functions import LayerFunctions
from QEfficient.records import OnnxModel, Shape
from tests import real_text
from tests.sdk.parts.emulate import emulate

Arrays = dict[str, np.ndarray]


def inputs(model: OnnxModel) -> Arrays:
    ids = np.random.default_rng(0).integers(1000, 20000, (4, 24))
    mask = (np.arange(24) < np.array([[24], [20], [7], [1]])).astype(np.int64)
    known = {"input_ids": ids * mask, "attention_mask": mask}
    return {spec.name: known.get(spec.name, np.zeros_like(ids)) for spec in model.inputs}


def computed(path: Path, arrays: Arrays, *, optimised: bool = True) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    if not optimised:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    found: np.ndarray = onnxruntime.InferenceSession(path, options).run(None, arrays)[0]
    return found


def ours(model: OnnxModel, precision: Precision) -> np.ndarray:
    with open_emulated(model, precision, buckets=[Shape(64, 8)]) as session:
        return session.run(inputs(model))["output"]


@pytest.mark.parametrize("weights", [None, "mxfp6"])
def test_both_emulators_agree_bit_by_bit(minilm: OnnxModel, tmp_path: Path, weights: str | None) -> None:
    emulate(minilm.path, tmp_path / "other.onnx", fp16=True, mxfp6=weights is not None)
    found = ours(minilm, Precision(weights="mxfp6" if weights else None))
    assert found.tobytes() == computed(tmp_path / "other.onnx", inputs(minilm)).tobytes()


def test_both_emulators_agree_on_a_mixed_list(minilm: OnnxModel, tmp_path: Path) -> None:
    """All that follows the last weight stays in fp32."""
    graph = onnx.load(minilm.path, load_external_data=False).graph
    weights = {t.name for t in graph.initializer if t.data_type == onnx.TensorProto.FLOAT and len(t.dims)}
    late = {"output"}  # values that only late nodes read
    kept = set()
    for node in reversed(graph.node):
        if not weights.isdisjoint(node.input):
            break
        if late.issuperset(node.output):
            kept.add(node.output[0])
            readers = {name: [other for other in graph.node if name in other.input] for name in node.input}
            late |= {name for name, nodes in readers.items() if all(other.output[0] in kept for other in nodes)}
    assert {node.op_type for node in graph.node if node.output[0] in kept} > {"Div", "ReduceSum"}
    emulate(minilm.path, tmp_path / "other.onnx", fp16=True, fp32_outputs=frozenset(kept))
    found = ours(minilm, Precision(fp32_nodes=frozenset(kept)))
    assert found.tobytes() == computed(tmp_path / "other.onnx", inputs(minilm)).tobytes()
    assert found.tobytes() != ours(minilm, Precision()).tobytes()


def test_both_emulators_are_near_where_their_rules_differ(minilm: OnnxModel, tmp_path: Path) -> None:
    """The other one hands an fp32 node's result to fp16 nodes as it is, and rounds the weights of all."""
    nodes = onnx.load(minilm.path, load_external_data=False).graph.node
    fp32 = frozenset(node.output[0] for node in nodes if node.op_type in ("Softmax", "Erf", "LayerNormalization"))
    emulate(minilm.path, tmp_path / "other.onnx", fp16=True, fp32_outputs=fp32)
    found = ours(minilm, Precision(fp32_nodes=fp32))
    other = computed(tmp_path / "other.onnx", inputs(minilm))
    want = computed(minilm.path, inputs(minilm))
    apart, first, second = (
        1 - cosines(one.astype(float), two.astype(float)).min()
        for one, two in ((found, other), (found, want), (other, want))
    )
    assert 0 < apart < 2 * (first + second) < 1e-4


def test_no_optimisation_changes_a_bit(minilm: OnnxModel, tmp_path: Path) -> None:
    made = emulated(minilm, tmp_path / "emulated", Precision())
    assert ours(minilm, Precision()).tobytes() == computed(made.path, inputs(minilm), optimised=False).tobytes()


def test_all_nodes_in_fp32_give_the_graph_itself(minilm: OnnxModel) -> None:
    nodes = onnx.load(minilm.path, load_external_data=False).graph.node
    every = frozenset(node.output[0] for node in nodes)
    found = ours(minilm, Precision(fp32_nodes=every))
    np.testing.assert_allclose(found, computed(minilm.path, inputs(minilm)), atol=1e-5)


@pytest.mark.slow
def test_fp16_keeps_two_thousand_real_snippets(minilm: OnnxModel) -> None:
    texts = real_text.snippets(2000)
    exact, half = (embed(minilm, PRECISIONS[name], texts) for name in ("fp32", "fp16"))
    found = cosines(exact, half)
    assert len(found) == 2000
    assert found.min() >= 0.99999, texts[int(found.argmin())]
    assert not (exact == half).all(axis=1).any()  # every row was really computed in fp16
    assert (half == half.astype(np.float16)).all()


def test_block_formats_cost_what_the_docs_say(minilm: OnnxModel) -> None:
    """Loose bounds around the table in docs/how-to/reduced_precision.md, on a few of its texts."""
    texts = real_text.snippets(2000)[::50]
    exact = embed(minilm, PRECISIONS["fp32"], texts)
    found = {name: cosines(exact, embed(minilm, PRECISIONS[name], texts)) for name in list(PRECISIONS)[2:]}
    int8, e2m3, e3m2 = found.values()
    assert 0.9990 < int8.mean() < 0.9999 and int8.min() > 0.997
    assert 0.9950 < e2m3.mean() < 0.9985 and e2m3.min() > 0.98
    assert 0.9880 < e3m2.mean() < 0.9960 and e3m2.min() > 0.95


def test_layers_as_functions_give_the_same_bits(minilm: OnnxModel, tmp_path: Path) -> None:
    folded = apply(minilm, tmp_path / "functions", passes=(LayerFunctions,))
    assert folded.functions
    for precision in (Precision(), Precision(weights="mxfp6")):
        assert ours(folded, precision).tobytes() == ours(minilm, precision).tobytes()
