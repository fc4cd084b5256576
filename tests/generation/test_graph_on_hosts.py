"""What the host's runtimes run in place of a decoder's graph gives the same, in other nodes and without functions."""

from __future__ import annotations

import shutil
from collections import Counter

import numpy as np
import onnx
import pytest

from QEfficient.architectures import find
from QEfficient.backends import registry
from QEfficient.backends.openvino_paged_state import OpenVinoPagedSession
from QEfficient.numerics.decoder_steps import CACHE_SLOTS, Steps, worst_difference
from QEfficient.onnx_transforms.paged import write_paged
from QEfficient.records import MODEL, CompileOptions, Shape, Target
from QEfficient.tasks.text_generation import DecoderForm
from tests.generation.test_graph_tokens import prompt
from tests.generation.tiny_decoders import TYPES, WINDOW, own_logits, tiny_decoder

FORMS = [DecoderForm(), DecoderForm(continuous=False, keeps_logits=True)]

NOT_PAGED = {
    "bloom": "biases by distance",
    "mpt": "biases by distance",
    "gemma2": "a soft cap",
    "gemma3_text": "rings",
    "opt": "queries that are scaled before",
}


@pytest.mark.parametrize("backend", registry.HOSTS)
@pytest.mark.parametrize("form", FORMS, ids=["continuous", "plain"])
@pytest.mark.parametrize("model_type", ["llama", "gemma3_text"])
def test_steps_agree_with_transformers(model_type, form, backend, graph_of, tmp_path):
    graph, model, host = graph_of(model_type, form), tiny_decoder(model_type), registry.get(backend)
    steps = Steps([prompt(70, 1), prompt(30, 2), prompt(12, 3)], form.continuous, 3 if form.keeps_logits else None)
    sizes = {"ctx_len": 72, "full_batch_size": CACHE_SLOTS, "sliding_window": WINDOW, "num_logits_to_keep": 3}
    shape = Shape(70, 4 if form.continuous else 3, sizes)
    program = host.compile({MODEL: graph}, {MODEL: (shape,)}, Target(backend, "fp32"), CompileOptions(), tmp_path)
    proto = onnx.load(program.joined_path, load_external_data=False)
    assert program.manifest.graph.joined and not proto.functions
    own = {"com.microsoft"} if backend == "onnxruntime" else set()
    assert {node.domain for node in proto.graph.node} == {"", *own}
    wanted = [dict(enumerate(own_logits(model, ids))) for ids in steps.sequences]
    with host.open(program) as session:
        paged = backend == "openvino" and model_type not in NOT_PAGED
        assert isinstance(session, OpenVinoPagedSession) == paged
        slots = session.states[0].shape[0]
        for slot in range(int(slots)):
            session.write(slot, {spec.name: np.full(spec.shape[1:], np.nan, np.float32) for spec in session.states})
        worst, wrong = worst_difference(steps, session.run, wanted)
    assert (wrong, worst < 1e-4) == ("", True)


@pytest.mark.parametrize("model_type", ["llama", "gemma3_text"])
def test_caches_of_all_positions_are_read_by_attention_alone(model_type, graph_of, tmp_path):
    """Neither scatter nor gather touches them; a window's ring keeps its own."""
    graph, host = graph_of(model_type), registry.get("onnxruntime")
    shape = Shape(8, 1, {"ctx_len": 64, "full_batch_size": 2, "sliding_window": WINDOW})
    program = host.compile({MODEL: graph}, {MODEL: (shape,)}, Target("onnxruntime", "fp32"), CompileOptions(), tmp_path)
    nodes = onnx.load(program.joined_path, load_external_data=False).graph.node
    whole = [spec.name for spec in graph.inputs if spec.shape[2:3] == ("ctx_len",)]
    readers = {name: [node.op_type for node in nodes if name in node.input] for name in whole}
    assert whole and all(set(kinds) - {"Shape"} == {"GroupQueryAttention"} for kinds in readers.values())
    written = [name for node in nodes if node.op_type == "GroupQueryAttention" for name in node.output[1:]]
    assert sorted(written) == sorted(f"{name}_RetainedState" for name in whole)
    assert set(whole) <= set(program.manifest.graph.in_place)
    kinds = {node.op_type for node in nodes}
    assert ("ScatterND" in kinds) == ("Softmax" in kinds) == (model_type == "gemma3_text")
    assert not kinds & {"Reciprocal", "ReduceMean", "Range"} or model_type == "gemma3_text"


@pytest.mark.parametrize("model_type", TYPES)
def test_which_types_have_caches_of_blocks_in_openvino(model_type, graph_of, tmp_path):
    graph, path = graph_of(model_type), tmp_path / "graph" / "paged.onnx"
    shutil.copytree(graph.path.parent, path.parent)
    assert write_paged(path.with_name(graph.path.name), path) == path.exists() == (model_type not in NOT_PAGED)
    if path.exists():
        kinds = Counter((node.domain, node.op_type) for node in onnx.load(path, load_external_data=False).graph.node)
        assert kinds["qefficient", "PagedAttention"] == sum(spec.name.startswith("past_key") for spec in graph.inputs)
        assert ("", "Softmax") not in kinds or find(model_type).routed
        assert {domain for domain, _ in kinds} - {"com.microsoft"} == {"", "qefficient"}
        assert {kind for domain, kind in kinds if domain == "com.microsoft"} <= {"SimplifiedLayerNormalization"}
