"""HuggingFace torch = the module that is exported = the exported graph, on tiny models with telling weights."""

import copy
from collections.abc import Iterator
from pathlib import Path

import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from QEfficient.architectures import find
from QEfficient.errors import TransformError
from QEfficient.onnx_transforms import BY_LAYERS, apply
from QEfficient.pytorch_transforms.embedding import EmbeddingModule, text_inputs
from QEfficient.records import OnnxModel
from tests.exported import export
from tests.tiny_models import LIMIT, batch, chain, tiny

SHAPES = [
    (1, 1, "none"),
    (1, 2, "none"),
    (3, 7, "right"),
    (3, 7, "left"),
    (3, 7, "holes"),
    (2, 16, "none"),
    (5, LIMIT, "right"),
    (2, LIMIT, "left"),
]

KINDS = ("bert", "distilbert", "mpnet", "albert", "t5")
"""Each block of ours, a type without blocks, and relative positions; the sweep has every type."""

Chain = tuple[str, nn.Module, EmbeddingModule, OnnxModel]


@pytest.fixture(scope="module", params=KINDS)
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    model_type = request.param
    model = tiny(model_type)
    module = chain(model)
    limit = find(model_type).max_length(model.config.to_dict())
    folder = tmp_path_factory.mktemp(model_type)
    yield (
        model_type,
        model,
        module,
        export(module, inputs=text_inputs(module.encoder), folder=folder, length_limit=limit),
    )


def run(model: OnnxModel, inputs: dict[str, Tensor]) -> Tensor:
    session = onnxruntime.InferenceSession(model.path, providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {name: value.numpy() for name, value in inputs.items()})[0])


def assert_equal_tokens(expected: Tensor, got: Tensor, mask: Tensor) -> None:
    """Real tokens: cosine ≥ 0.99999, largest difference ≤ 1e-5 of the vector's norm."""
    assert got.shape == expected.shape
    expected, got = expected[mask > 0], got[mask > 0]
    assert cosine_similarity(expected, got, dim=-1).min() >= 0.99999
    assert ((expected - got).abs().amax(dim=-1) / expected.norm(dim=-1)).max() <= 1e-5


@pytest.mark.parametrize(("rows", "length", "padding"), SHAPES)
def test_torch_module_and_graph_agree(exported: Chain, rows: int, length: int, padding: str) -> None:
    _, model, module, graph = exported
    inputs = {name: value for name, value in batch(rows, length, padding=padding).items() if name in module.inputs}
    with torch.no_grad():
        expected = model(**inputs).last_hidden_state
        swapped = module(**inputs)
    assert_equal_tokens(expected, swapped, inputs["attention_mask"])
    assert_equal_tokens(expected, run(graph, inputs), inputs["attention_mask"])


def test_passes_and_layer_functions_keep_the_numbers(exported: Chain, tmp_path: Path) -> None:
    model_type, model, module, graph = exported
    plain = apply(graph, tmp_path / "plain")
    if model_type == "albert":  # one module that is called several times: its path says nothing about which time
        with pytest.raises(TransformError, match="No layer of the graph is repeated"):
            apply(graph, tmp_path / "functions", passes=BY_LAYERS)
        return
    repeated = apply(graph, tmp_path / "functions", passes=BY_LAYERS)
    assert repeated.functions and not plain.functions
    inputs = {name: value for name, value in batch(3, 7).items() if name in module.inputs}
    with torch.no_grad():
        expected = model(**inputs).last_hidden_state
    for each in (plain, repeated):
        assert [spec.name for spec in each.inputs] == list(module.inputs)
        assert_equal_tokens(expected, run(each, inputs), inputs["attention_mask"])


def test_graph_asks_for_what_the_model_takes(exported: Chain) -> None:
    model_type, _, _, graph = exported
    wanted = ["input_ids", "attention_mask"]
    if model_type in {"bert", "electra", "albert"}:
        wanted.append("token_type_ids")
    assert [spec.name for spec in graph.inputs] == wanted
    assert {(spec.dtype, spec.shape) for spec in graph.inputs} == {("int64", ("batch_size", "seq_len"))}
    assert [(s.name, s.dtype, s.shape) for s in graph.outputs] == [("output", "float32", ("batch_size", "seq_len", 32))]


def lost_mask(model: nn.Module, inputs: dict[str, Tensor]) -> Tensor:
    return model(**{**inputs, "attention_mask": torch.ones_like(inputs["attention_mask"])}).last_hidden_state


def swapped_query_and_key(model: nn.Module, inputs: dict[str, Tensor]) -> Tensor:
    for layer in model.encoder.layer:
        attention = layer.attention.self
        attention.query, attention.key = attention.key, attention.query
    return model(**inputs).last_hidden_state


def missing_layer(model: nn.Module, inputs: dict[str, Tensor]) -> Tensor:
    del model.encoder.layer[0]
    return model(**inputs).last_hidden_state


@pytest.mark.parametrize("fault", [lost_mask, swapped_query_and_key, missing_layer])
@torch.no_grad()
def test_these_weights_show_faults(fault) -> None:
    """What the tests above would say of a model that is wrong."""
    inputs = batch(3, 7)
    model = tiny("bert")
    expected = model(**inputs).last_hidden_state
    wrong = fault(copy.deepcopy(model), inputs)
    real = inputs["attention_mask"] > 0
    assert cosine_similarity(expected[real], wrong[real], dim=-1).min() < 0.99
