"""What onnxruntime runs of a graph with an encoder: no encoder in a decode step, no copy of a cache, short reads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from QEfficient.backends.onnxruntime import OnnxRuntimeBackend
from QEfficient.backends.retained import state_pairs
from QEfficient.build.seq2seq_graph import export_seq2seq
from QEfficient.onnx_transforms import read, run
from QEfficient.onnx_transforms.reads_on_demand import ReadsOnDemand
from QEfficient.onnx_transforms.standard_operators import InlineFunctions
from QEfficient.onnx_transforms.used_source import SOURCE_COUNT, UsedSource
from QEfficient.records import MODEL, CompileOptions, OnnxModel, Program, Shape, Target
from QEfficient.tasks.text2text_generation import SourceForm
from tests.generation.tiny_seq2seq import seq2seq_recipe, tiny_seq2seq

SIZES = {"encoder_len": 20, "encoder_ctx_len": 24, "decoder_ctx_len": 16, "full_batch_size": 4}


@pytest.fixture(scope="module")
def graph_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[bool], OnnxModel]:
    @cache
    def made(continuous: bool) -> OnnxModel:
        model = tiny_seq2seq("marian", encoder_layers=3, decoder_layers=1)
        folder = tmp_path_factory.mktemp("graph") / "made"
        return export_seq2seq(seq2seq_recipe(model), SourceForm(continuous), folder)

    return made


def program_of(model: OnnxModel, folder: Path) -> Program:
    free = {dim for spec in model.inputs for dim in spec.shape}
    shape = Shape(8, 3, {dim: size for dim, size in SIZES.items() if dim in free})
    target = Target(backend="onnxruntime", compute="fp32")
    return OnnxRuntimeBackend().compile({MODEL: model}, {MODEL: (shape,)}, target, CompileOptions(), folder)


def kinds(graph: ir.Graph) -> Counter[str]:
    return Counter(node.op_type for node in graph)


@pytest.mark.parametrize("continuous", [True, False])
def test_the_encoder_is_a_branch(continuous: bool, graph_of: Callable[[bool], OnnxModel], tmp_path: Path) -> None:
    model = graph_of(continuous)
    program = program_of(model, tmp_path)
    facts = program.manifest.graph
    assert set(facts.in_place) == set(state_pairs(model.inputs, model.outputs))  # a step copies no cache
    joined = read(program.joined_path).graph
    (choice,) = [node for node in joined if node.op_type == "If"]
    reads, has = (choice.attributes[name].as_graph() for name in ("then_branch", "else_branch"))
    of_decoder = 4 + 2 + 2 + 2 + 2 + 1  # own attention, and its two products; the source's without keys and values; …
    assert kinds(joined)["MatMul"] == of_decoder
    assert kinds(reads)["MatMul"] >= 3 * 4 + 2  # of the encoder's layers, and the source's keys and values
    assert set(kinds(has)) == {"Constant", "Concat", "ConstantOfShape"}


def test_cross_caches_are_read_as_far_as_sources_reach(graph_of: Callable[[bool], OnnxModel], tmp_path: Path) -> None:
    with OnnxRuntimeBackend().open(program_of(graph_of(True), tmp_path)) as session:
        joined = read(session._program.joined_path).graph  # type: ignore[attr-defined]
        (count,) = [node for node in joined if node.op_type == "Range" and node.outputs[0].name == SOURCE_COUNT]
        assert count.inputs[1] is not None and count.inputs[1].producer() is not None
        assert count.inputs[1].producer().op_type == "Max"  # type: ignore[union-attr]
        source = np.array([[5, 6, 7, -1], [8, -1, -1, -1]])
        rows = {"input_ids": np.array([[3], [3]]), "position_ids": np.zeros((2, 1), np.int64)}
        first = session.run({"encoder_input_ids": source, **rows, "batch_index": np.array([[0], [2]])})["logits"]
        none = {**rows, "encoder_input_ids": np.full((2, 1), -1)}
        again = session.run({**none, "batch_index": np.array([[2], [0]])})["logits"]
        np.testing.assert_allclose(again[::-1], first, atol=1e-5)
        padding = {**none, "position_ids": np.full((2, 1), -1)}
        session.run({**padding, "batch_index": np.full((2, 1), -1)})  # nothing to read: it does not fail


def test_graphs_without_an_encoder_stay_as_they_are(graph_of: Callable[[bool], OnnxModel]) -> None:
    model = read(graph_of(True).path)
    assert not run(model, [ReadsOnDemand()])  # before functions are inlined there is nothing to find
    run(model, [UsedSource(), InlineFunctions()])
    assert run(model, [ReadsOnDemand()])
    assert not run(model, [ReadsOnDemand()])
