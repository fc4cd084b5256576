"""What the host's runtimes run in place of a decoder's graph gives the same: fewer positions read, no functions."""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx
import pytest

from QEfficient.backends import registry
from QEfficient.numerics.decoder_steps import CACHE_SLOTS, Steps, worst_difference
from QEfficient.records import MODEL, CompileOptions, Shape, Target
from QEfficient.tasks.text_generation import DecoderForm
from tests.generation.test_graph_tokens import prompt
from tests.generation.tiny_decoders import WINDOW, Bare, own_logits, tiny_decoder

FORMS = [DecoderForm(), DecoderForm(continuous=False, keeps_logits=True)]


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
    assert all(node.domain == "" for node in proto.graph.node)
    wanted = [dict(enumerate(own_logits(model, ids))) for ids in steps.sequences]
    with host.open(program) as session:
        slots = session.states[0].shape[0]
        for slot in range(int(slots)):
            session.write(slot, {spec.name: np.full(spec.shape[1:], np.nan, np.float32) for spec in session.states})
        worst, wrong = worst_difference(steps, session.run, wanted)
    assert (wrong, worst < 1e-4) == ("", True)


def test_only_used_positions_are_read(graph_of, tmp_path):
    """A cache a hundred times as long is read no further: what stands there may be anything, and costs nothing."""
    graph, host = graph_of("llama"), registry.get("onnxruntime")
    shape = Shape(8, 1, {"ctx_len": 64, "full_batch_size": 2})
    program = host.compile({MODEL: graph}, {MODEL: (shape,)}, Target("onnxruntime", "fp32"), CompileOptions(), tmp_path)
    joined = dataclasses.replace(graph, path=program.joined_path)
    proto = onnx.load(program.joined_path, load_external_data=False)
    read = next(
        node.output[0] for node in proto.graph.node if node.op_type == "Range" and node.output[0] == "cache_positions"
    )
    proto.graph.output.append(onnx.helper.make_tensor_value_info(read, onnx.TensorProto.INT64, ["n"]))
    onnx.save(proto, program.joined_path)
    bare = Bare(joined, 2, ctx_len=6400)
    assert len(bare.step([(0, [1, 2, 3], 0)], output=read)) == 3
    assert len(bare.step([(0, [4], 3)], output=read)) == 4
    assert len(bare.step([(-1, [], 0)], output=read)) == 1
