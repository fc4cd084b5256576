"""Decoders with weights of few bits: what the hosts run is what the portable graph says, for every type."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
import torch
import transformers

from QEfficient.backends import registry
from QEfficient.backends.host import NARROW, ROUNDED, WEIGHT_ONLY
from QEfficient.compress.compress_weights import SMALLEST
from QEfficient.compress.fit_grid import fit_grid
from QEfficient.compress.grid import find_grid
from QEfficient.compress.group_weights import group_of
from QEfficient.compress.weight_only import WeightOnly, to_grouped
from QEfficient.numerics.decoder_steps import CACHE_SLOTS, Steps, worst_difference
from QEfficient.onnx_transforms.narrow_products import FP32, INT8, OPERATOR
from QEfficient.records import MODEL, CompileOptions, OnnxModel, Program, Shape, Target
from tests.generation.test_graph_tokens import prompt
from tests.generation.tiny_decoders import TYPES, WINDOW, own_logits, tiny_decoder

SHAPE = Shape(70, 4, {"ctx_len": 72, "full_batch_size": CACHE_SLOTS, "sliding_window": WINDOW})
STEPS = Steps([prompt(70, 1), prompt(30, 2), prompt(12, 3)], continuous=True, kept=None)
PLAIN = ("llama", "gpt2")
"""Types whose weights are all read by products and tables: one with a head of its own, one with a tied one."""


@pytest.fixture(scope="module")
def grouped(graph_of, tmp_path_factory):
    """A tiny decoder's graph in few bits, by its type and bits."""
    made: dict[tuple[str, int], WeightOnly] = {}

    def of(model_type: str, bits: int) -> WeightOnly:
        if (model_type, bits) not in made:
            folder = tmp_path_factory.mktemp(f"{model_type}{bits}")
            made[model_type, bits] = to_grouped(graph_of(model_type), bits, folder / "graph")
        return made[model_type, bits]

    return of


def compiled(graph: OnnxModel, backend: str, compute: str, folder: Any) -> Program:
    made = registry.get(backend).compile(
        {MODEL: graph}, {MODEL: (SHAPE,)}, Target(backend, compute), CompileOptions(), folder
    )
    return made


def rounded(model: Any, bits: int) -> Any:
    """The model with its weights as they are stored: those of products, and tables in 8 bits."""

    def as_stored(weight: torch.Tensor, bits: int, turned: bool = False) -> torch.Tensor:
        matrix = np.ascontiguousarray(weight.detach().numpy().T if turned else weight.detach().numpy())
        group = group_of(matrix.shape[1])
        grid = fit_grid(matrix, bits, group) if group else find_grid(matrix, 8, 1)
        found = grid.numbers(grid.codes(matrix))
        return torch.from_numpy(np.ascontiguousarray(found.T if turned else found))

    heads = model.get_output_embeddings()
    for module in model.modules():
        if not isinstance(getattr(module, "weight", None), torch.Tensor) or module.weight.numel() < SMALLEST:
            continue
        if isinstance(module, torch.nn.Linear | transformers.pytorch_utils.Conv1D) and module is not heads:
            turned = isinstance(module, transformers.pytorch_utils.Conv1D)
            module.weight = torch.nn.Parameter(as_stored(module.weight, bits, turned))
    tied = heads.weight is model.get_input_embeddings().weight
    heads.weight = torch.nn.Parameter(as_stored(heads.weight, bits))
    for module in model.modules():
        if isinstance(module, torch.nn.Embedding) and module.weight.numel() >= SMALLEST:
            module.weight = torch.nn.Parameter(as_stored(module.weight, 8))
    assert tied == model.config.tie_word_embeddings
    return model


@pytest.mark.parametrize("backend", registry.HOSTS)
@pytest.mark.parametrize("compute", WEIGHT_ONLY)
@pytest.mark.parametrize("model_type", PLAIN)
def test_numbers_are_those_of_a_model_with_rounded_weights(model_type, compute, backend, grouped, tmp_path):
    made = grouped(model_type, NARROW[compute])
    assert not [one for one in made.weights if one.kept]
    model, host = rounded(tiny_decoder(model_type), NARROW[compute]), registry.get(backend)
    wanted = [dict(enumerate(own_logits(model, ids))) for ids in STEPS.sequences]
    with host.open(compiled(made.model, backend, compute, tmp_path)) as session:
        worst, wrong = worst_difference(STEPS, session.run, wanted)
    assert (wrong, worst < 1e-4) == ("", True)


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("model_type", TYPES)
def test_every_type_gives_the_same_joined_as_plain(model_type, bits, grouped, tmp_path):
    """In onnxruntime with its own products, and the portable graph in OpenVINO, whatever of a type stays in fp32."""
    graph, found = grouped(model_type, bits).model, []
    assert any(not one.kept for one in grouped(model_type, bits).weights)
    compute = {4: "int4_weights", 8: "int8_weights"}[bits]
    for backend in registry.HOSTS:
        program = compiled(graph, backend, compute, tmp_path / backend)
        with registry.get(backend).open(program) as session:
            found.append(first_logits(session))
    np.testing.assert_allclose(found[0], found[1], atol=2e-4 * float(np.abs(found[0]).max()))


def first_logits(session: Any) -> np.ndarray:
    """Of the sequences' first chunks; the idle row has none."""
    parts = next(STEPS.calls())
    logits: np.ndarray = session.run(STEPS.inputs(parts, 0))["logits"][: len(parts)]
    return logits


@pytest.mark.parametrize(
    ("compute", "products"), [("int4_weights", 4), ("int4_weights_int8", 4), ("int8_weights_int8", 8)]
)
def test_onnxruntime_multiplies_by_the_bytes_of_the_portable_graph(compute, products, grouped, tmp_path):
    made = grouped("llama", products)
    program = compiled(made.model, "onnxruntime", compute, tmp_path)
    plain, joined = (onnx.load(path, load_external_data=False) for path in (program.onnx_path, program.joined_path))
    narrow = [node for node in joined.graph.node if node.op_type == OPERATOR]
    read_back = [node for node in plain.graph.node if node.op_type == "DequantizeLinear"]
    assert len(narrow) == len(read_back) > 10
    assert "DequantizeLinear" not in {node.op_type for node in joined.graph.node}
    attributes = [{one.name: one.i for one in node.attribute} for node in narrow]
    assert {one["accuracy_level"] for one in attributes} == {INT8 if compute in ROUNDED else FP32}
    assert {one["bits"] for one in attributes} == {products}
    files = {
        entry.value for tensor in joined.graph.initializer for entry in tensor.external_data if entry.key == "location"
    }
    assert files <= {"model.onnx.data"}
    assert program.joined_path.stat().st_size < program.onnx_path.stat().st_size


def test_products_of_8_bits_in_fp32_are_turned_back(grouped, tmp_path):
    program = compiled(grouped("llama", 8).model, "onnxruntime", "int8_weights", tmp_path)
    assert OPERATOR not in {
        node.op_type for node in onnx.load(program.joined_path, load_external_data=False).graph.node
    }


@pytest.mark.parametrize("backend", registry.HOSTS)
@pytest.mark.parametrize("compute", ROUNDED)
def test_products_in_int8_are_near_those_in_fp32(compute, backend, grouped, tmp_path):
    graph, found = grouped("llama", NARROW[compute]).model, []
    for one in (compute, compute.removesuffix("_int8")):
        with registry.get(backend).open(compiled(graph, backend, one, tmp_path / one)) as session:
            found.append(first_logits(session).ravel())
    cosine = found[0] @ found[1] / (np.linalg.norm(found[0]) * np.linalg.norm(found[1]))
    assert cosine > 0.99
    assert backend == "openvino" or not np.array_equal(found[0], found[1])
