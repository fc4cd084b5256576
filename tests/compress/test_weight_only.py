"""Weights in few bits, as a graph: what is stored, what both runtimes make of it, what stays in fp32 and why."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from QEfficient import QEFFAutoModel
from QEfficient.backends import openvino_graph, registry
from QEfficient.backends.host import sums_int8_in_32_bits
from QEfficient.compress import compress_weights
from QEfficient.compress.weight_only import WeightOnly, to_weight_only
from QEfficient.errors import UsageError
from QEfficient.onnx_transforms import describe, finish, read
from QEfficient.records import MODEL, GraphFacts, Manifest, OnnxModel, Program, Shape, Target
from tests.sweep.build import batches, build
from tests.sweep.case import LIMIT, Case
from tests.sweep.decoders import EXPERTS, GPT2, LLAMA
from tests.sweep.text_encoders import BERT
from tests.tiny_graphs import feed, make

FAMILIES = (
    Case("bert", "BertModel", BERT),
    Case("distilbert", "DistilBertModel", {"vocab_size": 97, "dim": 32, "n_layers": 1, "n_heads": 4, "hidden_dim": 48}),
    Case("llama", "LlamaModel", LLAMA, std=0.3),
    Case("gpt2", "GPT2Model", GPT2, std=0.3),
    Case("qwen3_moe", "Qwen3MoeModel", EXPERTS, std=0.3, variant="experts"),
)


def run(model: OnnxModel, backend: str, compute: str, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    graph = GraphFacts((Shape(LIMIT),), model.inputs, model.outputs, model.path.name)
    manifest = Manifest(Target(backend, compute), {MODEL: graph})
    with registry.get(backend).open(Program(model.path.parent, manifest)) as session:
        return dict(session.run(arrays))


def numbers(stored: ir.Model, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """What ONNX says that codes stand for: (code - zero) * step, the step of a group for each number of it."""
    parts = [stored.graph.initializers[f"{name}_{part}"].const_value for part in ("codes", "zero", "step")]
    codes, zero, step = (np.asarray(part.numpy()).astype(np.float64) for part in parts if part is not None)
    if step.ndim == 2 and step.shape[0] not in (1, codes.shape[0]):
        zero, step = (np.repeat(each, codes.shape[0] // step.shape[0], 0) for each in (zero, step))
    found = ((codes - zero) * step).astype(np.float32)
    return found if found.shape == shape else found.T


def restored(plain: OnnxModel, small: WeightOnly, folder: Path) -> OnnxModel:
    """The graph in fp32 with the numbers that the stored weights stand for."""
    graph, stored = read(plain.path), read(small.model.path)
    for one in small.weights:
        value = graph.graph.initializers[one.name]
        if one.kept or value.const_value is None:
            continue
        exact = value.const_value.numpy()
        found = numbers(stored, one.name, exact.shape)
        step = stored.graph.initializers[f"{one.name}_step"].const_value
        assert step is not None and np.abs(found - exact).max() <= 0.501 * step.numpy().max()
        value.const_value = ir.tensor(found, name=one.name)
    return finish(graph, folder, passes=())


@pytest.mark.sweep
@pytest.mark.parametrize("case", FAMILIES, ids=lambda case: case.name)
def test_runtimes_compute_what_the_stored_weights_stand_for(case: Case, tmp_path: Path) -> None:
    model = QEFFAutoModel(build(case), pooling="mean")
    plain = describe(Path(model.export(verify="off")))
    inputs = {name: tensor.numpy() for name, tensor in batches(case)[0].items()}
    arrays = {spec.name: inputs.get(spec.name, np.zeros_like(inputs["input_ids"])) for spec in plain.inputs}
    for bits, compute in ((8, "int8_weights"), (4, "int4_weights")):
        small = to_weight_only(plain, bits, tmp_path / compute)
        onnx.checker.check_model(small.model.path)
        assert (small.model.inputs, small.model.outputs) == (plain.inputs, plain.outputs)
        assert {one.bits for one in small.weights if not one.kept} <= {bits, 8}
        expected = restored(plain, small, tmp_path / f"{compute}_restored")
        want = run(expected, "onnxruntime", "fp32", arrays)["output"]
        moved = np.abs(run(plain, "onnxruntime", "fp32", arrays)["output"] - want).max()
        assert moved > 1e-4 * np.abs(want).max()  # the weights are no longer the model's own
        for backend in ("onnxruntime", "openvino"):
            got = run(small.model, backend, compute, arrays)["output"]
            rounded = backend == "openvino" and sums_int8_in_32_bits()
            assert np.abs(got - want).max() <= (0.1 if rounded else 1e-4) * np.abs(want).max(), backend


def test_experts_stay_and_the_table_says_so(tmp_path: Path) -> None:
    model = QEFFAutoModel(build(FAMILIES[-1]), pooling="mean")
    small = to_weight_only(describe(Path(model.export(verify="off"))), 8, tmp_path)
    table = small.table()
    assert table["left_out"] and all("3 dims" in one["reason"] for one in table["left_out"])
    assert 0 < table["share"] < 1
    assert table["bytes_after"] < table["bytes_turned_back"] < table["bytes_before"]


def test_kernels_of_convolutions_stay(tmp_path: Path) -> None:
    config = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 48}
    plain = _graph(
        tmp_path,
        [
            helper.make_node("Conv", ["x", "kernel"], ["grown"], strides=[4, 4]),
            helper.make_node("Flatten", ["grown"], ["flat"]),
            helper.make_node("MatMul", ["flat", "w"], ["y"]),
        ],
        {"kernel": (config["hidden_size"], 3, 4, 4), "w": (32 * 4, 16)},
        x=["batch_size", 3, 8, 8],
        y=["batch_size", 16],
    )
    small = to_weight_only(plain, 8, tmp_path / "made")
    assert [(one.name, one.kept) for one in small.weights] == [("kernel", "Conv reads it"), ("w", "")]
    assert small.table()["left_out"] == [{"weight": "kernel", "bytes": 32 * 48 * 4, "reason": "Conv reads it"}]


def test_what_has_no_such_weights_is_refused(tmp_path: Path) -> None:
    node = helper.make_node("Conv", ["x", "kernel"], ["y"])
    plain = _graph(tmp_path, [node], {"kernel": (32, 3, 4, 4)}, x=["batch_size", 3, 8, 8], y=["batch_size", 32, 5, 5])
    with pytest.raises(UsageError, match="no weights that can be stored in fewer bits") as caught:
        to_weight_only(plain, 8, tmp_path / "made")
    assert "1 weights of 1024 numbers" in str(caught.value.got)


READERS: dict[str, Callable[[], list[Any]]] = {
    "several ways": lambda: [
        helper.make_node("Gather", ["w", "ids"], ["rows"], axis=0),
        helper.make_node("MatMul", ["rows", "w"], ["y"]),
    ],
    "Add": lambda: [
        helper.make_node("Gather", ["w", "ids"], ["rows"], axis=0),
        helper.make_node("ReduceMax", ["w"], ["most"], keepdims=0),
        helper.make_node("Mul", ["rows", "most"], ["y"]),
    ],
}


@pytest.mark.parametrize("how", READERS)
def test_what_is_read_in_two_ways_stays(how: str, tmp_path: Path) -> None:
    other = _graph(
        tmp_path,
        [*READERS[how](), helper.make_node("MatMul", ["y", "v"], ["z"])],
        {"w": (64, 64), "v": (64, 64)},
        ids=["batch_size"],
        z=["batch_size", 64],
    )
    small = to_weight_only(other, 8, tmp_path / "made")
    kept = {one.name: one.kept for one in small.weights}
    assert kept["v"] == "" and kept["w"] == ("it is read in several ways" if how != "Add" else "ReduceMax reads it")
    ids = {"ids": np.arange(7, dtype=np.int64)}
    want = run(restored(other, small, tmp_path / "restored"), "onnxruntime", "fp32", ids)["z"]
    assert np.allclose(run(small.model, "onnxruntime", "int8_weights", ids)["z"], want, rtol=1e-4, atol=1e-4)


def test_a_table_that_is_tied_to_a_product(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Gather", ["words", "ids"], ["rows"]),
        helper.make_node("MatMul", ["rows", "w"], ["states"]),
        helper.make_node("Transpose", ["words"], ["turned"], perm=[1, 0]),
        helper.make_node("MatMul", ["states", "turned"], ["y"]),
    ]
    shapes = {"words": (90, 64), "w": (64, 64)}
    plain = _graph(tmp_path, nodes, shapes, ids=["batch_size"], y=["batch_size", 90])
    small = to_weight_only(plain, 4, tmp_path / "made")
    assert {one.name: one.bits for one in small.weights} == {"words": 8, "w": 4}
    assert sum(name.startswith("words") for name in read(small.model.path).graph.initializers) == 3  # stored once
    arrays = {"ids": np.arange(20, dtype=np.int64)}
    want = run(restored(plain, small, tmp_path / "restored"), "onnxruntime", "fp32", arrays)["y"]
    for backend in ("onnxruntime", "openvino"):
        got = run(small.model, backend, "int4_weights", arrays)["y"]
        rounded = backend == "openvino" and sums_int8_in_32_bits()
        assert np.abs(got - want).max() <= (0.05 if rounded else 1e-5) * np.abs(want).max()


@pytest.mark.parametrize(("compute", "together"), [("fp32", 0), ("int8_weights", 16), ("int4_weights", 16)])
def test_openvino_rounds_activations_for_narrow_weights_only(compute: str, together: int, tmp_path: Path) -> None:
    graph = openvino_graph.read(make(tmp_path / "plain").path)
    compiled = openvino_graph.compiled(graph, compute, streams=1, threads=1)
    assert compiled.get_property("DYNAMIC_QUANTIZATION_GROUP_SIZE") == together


@pytest.mark.parametrize("turned", [0, 1])
@pytest.mark.parametrize(("inputs", "bits", "stored"), [(64, 4, 4), (48, 4, 8), (33, 8, 8)])
def test_gemm_with_its_weights_either_way(turned: int, inputs: int, bits: int, stored: int, tmp_path: Path) -> None:
    nodes = [helper.make_node("Gemm", ["x", "w", "b"], ["y"], transB=turned)]
    shapes = {"w": (40, inputs) if turned else (inputs, 40), "b": (40,)}
    plain = _graph(tmp_path, nodes, shapes, x=["batch_size", inputs], y=["batch_size", 40])
    small = to_weight_only(plain, bits, tmp_path / "made")
    assert [one.bits for one in small.weights] == [stored]
    arrays = {"x": np.random.default_rng(1).standard_normal((3, inputs)).astype(np.float32)}
    want = run(restored(plain, small, tmp_path / "restored"), "onnxruntime", "fp32", arrays)["y"]
    for backend in ("onnxruntime", "openvino"):
        got = run(small.model, backend, f"int{bits}_weights", arrays)["y"]
        rounded = backend == "openvino" and sums_int8_in_32_bits()
        assert np.abs(got - want).max() <= (0.05 if rounded else 1e-5) * np.abs(want).max()


def test_a_weight_that_several_products_share_is_stored_once(tmp_path: Path) -> None:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("MatMul", ["h", "w"], ["y"])]
    plain = _graph(tmp_path, nodes, {"w": (64, 64)}, x=["batch_size", 64], y=["batch_size", 64])
    small = to_weight_only(plain, 4, tmp_path / "made")
    stored = read(small.model.path).graph.initializers
    assert sorted(stored) == ["w_codes", "w_step", "w_zero"]
    assert small.weights[0].after == 64 * 64 // 2 + 2 * 64 * 4 + 2 * 64 // 2


def test_infinite_numbers_stay(tmp_path: Path) -> None:
    nodes = [helper.make_node("Gather", ["mask", "ids"], ["m"]), helper.make_node("MatMul", ["m", "w"], ["y"])]
    plain = _graph(
        tmp_path, nodes, {"mask": (64, 64), "w": (64, 64)}, ids=["batch_size"], y=["batch_size", 64], infinite="mask"
    )
    small = to_weight_only(plain, 8, tmp_path / "made")
    assert {one.name: one.kept for one in small.weights} == {
        "mask": "it holds numbers that are not finite",
        "w": "",
    }


def test_equal_graphs_give_equal_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compress_weights, "SMALLEST", 64)
    plain = make(tmp_path / "plain")
    made = [to_weight_only(plain, 4, tmp_path / name).model for name in ("one", "two")]
    assert made[0].digest == made[1].digest
    arrays = feed(9, 4)
    outputs = [run(made[0], backend, "int4_weights", arrays)["output"] for backend in ("onnxruntime", "openvino")]
    assert np.abs(outputs[0] - outputs[1]).max() < 0.05 * np.abs(outputs[0]).max()


def _graph(
    folder: Path, nodes: list[Any], shapes: dict[str, tuple[int, ...]], infinite: str = "", **values: list[Any]
) -> OnnxModel:
    """A graph of these nodes with random weights, whose last value is its output."""
    random = np.random.default_rng(0)
    weights = {name: random.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    if infinite:
        weights[infinite][0, 0] = -np.inf
    specs = [
        helper.make_tensor_value_info(name, TensorProto.INT64 if name == "ids" else TensorProto.FLOAT, shape)
        for name, shape in values.items()
    ]
    graph = helper.make_graph(
        nodes, "g", specs[:-1], specs[-1:], [numpy_helper.from_array(array, name) for name, array in weights.items()]
    )
    path = folder / "plain.onnx"
    onnx.save_model(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return describe(path)
