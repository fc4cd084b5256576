"""The graph that onnxruntime runs: what is joined, that it computes the same, and what stays as it is."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from numpy.typing import NDArray

from QEfficient import program as programs
from QEfficient.backends.onnxruntime import OnnxRuntimeBackend
from QEfficient.errors import CorruptArtefactError, ManifestError
from QEfficient.onnx_transforms import apply, describe, run
from QEfficient.onnx_transforms.join_attention import JoinAttention
from QEfficient.onnx_transforms.joined import write_joined
from QEfficient.onnx_transforms.move_biases import MoveBiases
from QEfficient.pytorch_transforms.embedding import text_inputs
from QEfficient.records import MODEL, CompileOptions, OnnxModel, Program, Shape, Target
from tests import cached_graphs, tiny_models
from tests.exported import export
from tests.passes.graphs import LAYER, compute, layer
from tests.stateful_graphs import FORMS

JOINED = ("bert", "roberta", "xlm-roberta", "camembert", "mpnet", "distilbert", "electra")


def feed(seed: int = 0) -> dict[str, NDArray[np.generic]]:
    numbers = np.random.default_rng(seed)
    mask = np.array([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [0, 0, 0, 1, 1], [1, 0, 1, 0, 1]], np.int64)
    return {"h": numbers.standard_normal((4, 5, 8)).astype(np.float32), "mask": mask}


def kinds(graph: ir.Model) -> Counter[str]:
    return Counter(node.op_type for node in graph.graph)


@pytest.mark.parametrize(
    "swapped",
    [("q0, bq", "bq, q0"), ("l0, m)", "m, l0)"), ("m2, lowest", "lowest, m2"), ("o, x", "x, o"), ("<axis = -1>", "")],
)
def test_one_operator_computes_the_same(swapped: tuple[str, str]) -> None:
    plain, graph = (layer(LAYER.replace(*swapped)) for _ in range(2))
    assert JoinAttention()(graph).modified
    assert kinds(graph)["Attention"] == 1
    assert np.allclose(compute(graph, feed())[0], compute(plain, feed())[0], atol=1e-5)
    assert not JoinAttention()(graph).modified


def test_relative_positions_are_taken_along() -> None:
    text = LAYER.replace("int64[b, s] mask)", "int64[b, s] mask, float[1, 2, s, s] r)").replace(
        "l = Add (l0, m)", "l1 = Add (l0, r)\n    l = Add (l1, m)"
    )
    inputs = feed() | {"r": np.random.default_rng(3).standard_normal((1, 2, 5, 5)).astype(np.float32)}
    graph = layer(text)
    assert JoinAttention()(graph).modified
    assert np.allclose(compute(graph, inputs)[0], compute(layer(text), inputs)[0], atol=1e-5)


@pytest.mark.parametrize(
    "changes",
    [
        [("=> (float[b, s, 8] y)", "=> (float[b, s, 8] y, float[b, 2, s, s] p)")],
        [("=> (float[b, s, 8] y)", "=> (float[b, s, 8] y, float[b, s, 8] v1)")],
        [("Softmax <axis = -1>", "Softmax <axis = 2>")],
        [("one = {1.0}", "one = {2.0}")],
        [("Sub (one, m1)", "Sub (m1, one)")],
        [("k = Transpose", "k3 = Transpose"), ("l0 = MatMul (q, k)", "k = Neg (k3)\n    l0 = MatMul (q, k)")],
        [("k0 = MatMul (x, wk)", "k0 = MatMul (h, wk)")],
        [("v1 = Add (v0, bv)", "v9 = Neg (v0)\n    v1 = Add (v9, bv)")],
        [("k2 = Reshape (k1, split)", "k9 = Neg (k1)\n    k2 = Reshape (k9, split)")],
        [("c1 = Transpose <perm = [0, 2, 1, 3]> (c0)", "c1 = Transpose <perm = [2, 0, 1, 3]> (c0)")],
        [("MatMul (q, k)", "MatMul (k, q)"), ("[0, 2, 3, 1]", "[0, 2, 1, 3]"), ("(q2)", "(k2)"), ("(k2)", "(q2)")],
        [("mask, axes", "mask9, axes"), ("    m0 =", "    mask9 = Neg (mask)\n    m0 =")],
        [("int64[b, s] mask", "float[b, s] mask")],
        [("int64[b, s] mask", "int64[1, s] mask")],
        [("=> (float[b, s, 8] y)", "=> (float[b, s, 8] y, float[b, s, 8] c)")],
    ],
    ids=[
        *("weights out", "values out", "axis", "two", "other sign", "keys", "other states", "values", "split", "order"),
        *("swapped", "mask", "fractions", "one mask", "a result"),
    ],
)
def test_what_is_no_such_attention_stays(changes: list[tuple[str, str]]) -> None:
    text = LAYER
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    graph = layer(text)
    before = ir.to_proto(graph).SerializeToString(deterministic=True)
    assert not JoinAttention()(graph).modified
    assert ir.to_proto(graph).SerializeToString(deterministic=True) == before


def test_before_opset_13_softmax_is_another_function() -> None:
    graph = layer()
    graph.graph.opset_imports[""] = 12
    assert not JoinAttention()(graph).modified


def test_the_bias_before_a_residual_sum_moves() -> None:
    graph = layer()
    assert MoveBiases()(graph).modified
    assert kinds(graph)["Add"] == kinds(layer())["Add"] - 1
    assert np.allclose(compute(graph, feed())[0], compute(layer(), feed())[0], atol=1e-5)
    assert not MoveBiases()(graph).modified


@pytest.mark.parametrize(
    "change",
    [
        ("=> (float[b, s, 8] y)", "=> (float[b, s, 8] y, float[b, s, 8] x)"),
        ("y = Add (o, x)", "z = Relu (x)\n    y = Add (o, z)"),
        ("y = Add (o, x)", "z = Add (o, x)\n    y = Mul (z, x)"),
        ("y = Add (o, x)", "z = Add (o, x)\n    y = Add (z, x)"),
        ("k1 = Add (bk, k0)", "k1 = Add (k0, k0)"),
        ("LayerNormalization (h, gain, shift)", "LayerNormalization (h, gain)"),
        ("o = Add (o0, bo)", "o9 = Add (o0, bo)\n    o = Relu (o9)"),
        ("o0 = MatMul (c, wo)", "o0 = MatMul (x, wo)"),
    ],
    ids=["the norm is a result", "no sum", "a product too", "two sums", "no bias", "norm without", "relu", "itself"],
)
def test_a_bias_that_others_would_miss_stays(change: tuple[str, str]) -> None:
    graph = layer(LAYER.replace(*change))
    before = ir.to_proto(graph).SerializeToString(deterministic=True)
    assert not MoveBiases()(graph).modified
    assert ir.to_proto(graph).SerializeToString(deterministic=True) == before


# ---------------------------------------------------------------------------------------------- whole models


def beside(graph: Path) -> Path:
    return graph.with_name("joined.onnx")


def exported(model_type: str, folder: Path) -> OnnxModel:
    module = tiny_models.chain(tiny_models.tiny(model_type))
    (folder / "export").mkdir()
    return apply(export(module, inputs=text_inputs(module.encoder), folder=folder / "export"), folder / "graph")


def batches(found: OnnxModel) -> list[dict[str, NDArray[np.generic]]]:
    made = [tiny_models.batch(6, 11, padding=padding) for padding in ("none", "left", "right", "holes")]
    return [{spec.name: batch[spec.name].numpy() for spec in found.inputs} for batch in made]


@pytest.mark.parametrize("model_type", JOINED)
def test_every_layer_of_a_model(model_type: str, tmp_path: Path) -> None:
    plain = exported(model_type, tmp_path)
    assert write_joined(plain.path, beside(plain.path))
    fewer = describe(beside(plain.path))
    assert (fewer.inputs, fewer.outputs) == (plain.inputs, plain.outputs)
    found = Counter(node.op_type for node in onnx.load(fewer.path, load_external_data=False).graph.node)
    assert (found["Attention"], found["Softmax"]) == (2, 0)
    for arrays in batches(plain):
        old, new = (compute(one.path, arrays)[0] for one in (plain, fewer))
        assert np.abs(new - old).max() <= 2e-5 * np.abs(old).max()


def test_biases_of_a_whole_model_move(tmp_path: Path) -> None:
    plain = exported("bert", tmp_path)
    counts = []
    for passes in ([JoinAttention()], [MoveBiases(), JoinAttention()]):
        graph = ir.load(plain.path)
        run(graph, passes)
        counts.append(kinds(graph)["Add"])
    assert counts[0] - counts[1] == 2 * 2  # of attention's projection and of the feed-forward layer, in both layers


def test_onnxruntime_puts_the_weights_together_when_it_loads_them(tmp_path: Path) -> None:
    plain = exported("bert", tmp_path)
    write_joined(plain.path, beside(plain.path))
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "seen.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(beside(plain.path), options, providers=["CPUExecutionProvider"])
    seen = onnx.load(tmp_path / "seen.onnx", load_external_data=False).graph
    stored = {tensor.name for tensor in seen.initializer}
    assert all(node.input[1] in stored for node in seen.node if node.op_type == "Attention")


def test_a_graph_without_attention_stands_alone(tmp_path: Path) -> None:
    plain = exported("t5", tmp_path)  # its projections have no bias
    assert not write_joined(plain.path, beside(plain.path))
    assert not beside(plain.path).exists()


def test_a_graph_that_holds_its_weights_is_not_written_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = exported("bert", tmp_path)
    monkeypatch.setattr("QEfficient.onnx_transforms.joined.LARGEST", 1000)
    assert not write_joined(plain.path, beside(plain.path))


def test_data_of_this_name_is_never_written_over(tmp_path: Path) -> None:
    plain = exported("bert", tmp_path)
    beside(plain.path).write_bytes(b"somebody's weights")
    assert not write_joined(plain.path, beside(plain.path))
    assert beside(plain.path).read_bytes() == b"somebody's weights"


def test_a_decoder_that_reads_more_than_tokens_keeps_its_attention(tmp_path: Path) -> None:
    """What belongs to a row would have to go with it: a source to translate, say."""
    plain = cached_graphs.make(tmp_path, FORMS["slots"])
    assert write_joined(plain.path, beside(plain.path))
    assert kinds(ir.load(beside(plain.path)))["GroupQueryAttention"] == 2
    graph = onnx.load(plain.path)
    graph.graph.input.append(
        onnx.helper.make_tensor_value_info("source_ids", onnx.TensorProto.INT64, ["batch_size", "n"])
    )
    onnx.save(graph, plain.path)
    beside(plain.path).unlink()
    assert write_joined(plain.path, beside(plain.path))
    assert not kinds(ir.load(beside(plain.path)))["GroupQueryAttention"]


def compiled(plain: OnnxModel, folder: Path) -> Program:
    folder.mkdir()
    return OnnxRuntimeBackend().compile(
        {MODEL: plain}, {MODEL: [Shape(16)]}, Target("onnxruntime"), CompileOptions(), folder
    )


def test_the_session_runs_the_joined_graph(tmp_path: Path) -> None:
    backend, plain = OnnxRuntimeBackend(), exported("bert", tmp_path)
    program = compiled(plain, tmp_path / "program")
    assert (program.manifest.graph.onnx, program.manifest.graph.joined) == ("model.onnx", "model.onnxruntime.onnx")
    [first, *_] = batches(plain)
    with backend.open(program) as session:
        found = session.run(first)["output"]
    assert np.allclose(found, compute(plain.path, first)[0], atol=1e-5)
    program.joined_path.write_bytes(b"not a graph")
    with pytest.raises(CorruptArtefactError):
        backend.open(program)
    graphs = {MODEL: replace(program.manifest.graph, joined=None)}  # what no manifest names is not read
    of_before = replace(program, manifest=replace(program.manifest, graphs=graphs))
    with backend.open(of_before) as session:
        assert np.allclose(session.run(first)["output"], found, atol=1e-5)


def test_the_manifest_lists_it(tmp_path: Path) -> None:
    written = programs.write(compiled(exported("bert", tmp_path), tmp_path / "program"))
    assert written.manifest.graph.joined in written.manifest.files
    assert programs.load(written.path).joined_path == written.joined_path
    manifest = written.path / "qefficient.json"
    manifest.write_text(manifest.read_text().replace('"joined": "model.onnxruntime.onnx"', '"joined": "other.onnx"'))
    with pytest.raises(ManifestError, match="joined"):
        programs.load(written.path)


def test_what_does_not_load_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(source: Path, target: Path, level: int | None) -> bool:
        target.write_bytes(b"not a graph")
        return True

    monkeypatch.setattr("QEfficient.onnx_transforms.joined.write_joined", wrong)
    program = compiled(exported("bert", tmp_path), tmp_path / "program")
    assert program.manifest.graph.joined is None and program.joined_path == program.onnx_path
    assert not (program.path / "model.onnxruntime.onnx").exists()


def test_names_that_are_taken_are_left_alone() -> None:
    text = LAYER.replace("int64[b, s] mask)", "int64[b, s] mask, float[b, s, 8] mask_int32, float[8] c_bias)")
    text = text.replace(
        "y = Add (o, x)", "z = Add (o, x)\n    c_weight = Add (z, mask_int32)\n    y = Add (c_weight, c_bias)"
    )
    inputs = feed() | {"mask_int32": np.ones((4, 5, 8), np.float32), "c_bias": np.ones(8, np.float32)}
    graph = layer(text)
    assert MoveBiases()(graph).modified and JoinAttention()(graph).modified
    onnx.checker.check_model(ir.to_proto(graph))
    assert np.allclose(compute(graph, inputs)[0], compute(layer(text), inputs)[0], atol=1e-5)


def test_external_data_in_a_subgraph(tmp_path: Path) -> None:
    """A branch with weights of its own, beside attention that is joined."""
    text = LAYER.replace("int64[b, s] mask)", "int64[b, s] mask, bool yes)").replace(
        "y = Add (o, x)",
        "z = Add (o, x)\n    y = If (yes) <then_branch = t () => (float[b, s, 8] a) { a = Add (z, extra) },"
        " else_branch = e () => (float[b, s, 8] d) { d = Identity (z) }>",
    )
    proto = ir.to_proto(layer(text.replace("float one", "float[8] extra = {1, 2, 3, 4, 5, 6, 7, 8}, float one")))
    [branch] = [node for node in proto.graph.node if node.op_type == "If"]
    inner = next(attribute.g for attribute in branch.attribute if attribute.name == "then_branch")
    [extra] = [tensor for tensor in proto.graph.initializer if tensor.name == "extra"]
    inner.initializer.append(extra)
    proto.graph.initializer.remove(extra)
    (tmp_path / "graph").mkdir()
    path = tmp_path / "graph/model.onnx"
    onnx.save_model(proto, path, save_as_external_data=True, location="model.onnx.data", size_threshold=0)
    program = compiled(describe(path), tmp_path / "program")
    assert program.manifest.graph.joined
    for yes in (True, False):
        inputs = feed() | {"yes": np.array(yes)}
        assert np.allclose(compute(program.joined_path, inputs)[0], compute(path, inputs)[0], atol=1e-5)
