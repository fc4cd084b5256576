"""The sweep's tests, which one file a kind of model runs on its cases: HuggingFace = the module that is exported = its
graph = the host's program = the card's program."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from QEfficient import QEFFAutoModel
from QEfficient.architectures import find
from QEfficient.errors import QEfficientError
from tests.sdk import make_sdk
from tests.sweep import counts, roads
from tests.sweep.build import batches, build
from tests.sweep.case import Case, Inputs
from tests.sweep.table import graph_inputs

FP32 = (0.99999, 1e-5)
"""Least cosine of a real token's vector with HuggingFace's, and largest difference as a part of its norm."""


EACH_BUILD = frozenset(
    "bert modernbert deberta-v2 xlnet longformer qwen3 gemma3_text mixtral openai_privacy_filter gpt2 bart t5 "
    "switch_transformers vit swin convnext clip wav2vec2 whisper".split()
)
"""One of each build: never left out, and their program for OpenVINO is run too."""


def served(cases: Sequence[Case]) -> list[Any]:
    """Cases that are not refused, as pytest's parameters; most are marked ``sweep``."""
    return [
        pytest.param(case, id=case.name, marks=() if case.name in EACH_BUILD else pytest.mark.sweep)
        for case in cases
        if not case.refused
    ]


def all_roads(case: Case, folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Each road gives HuggingFace's numbers. There is one export: the card's program is compiled from the host's graph.

    Args:
        case: What to build.
        folder: For a fake SDK.
        patch: Points the library to it.
    """
    patch.setenv("QEFF_QAIC_SDK", str(make_sdk(folder / "sdk").root))
    model, ours = build(case), QEFFAutoModel(build(case), pooling=case.pooling)
    given = [roads.with_all(case, ours, inputs) for inputs in batches(case)]
    parts = [part for inputs in given for part in roads.unpadded(case, model, inputs)]
    wanted, wanted_parts = ([roads.reference(case, model, one) for one in each] for each in (given, parts))
    buckets = roads.lengths(case, model, given)
    if find(case.model_type).more(case.config):  # the programs are given ids and masks alone, too
        bare = batches(case)
        given, wanted = [*given, *bare], [*wanted, *(roads.reference(case, model, inputs) for inputs in bare)]

    for inputs, want in zip(parts, wanted_parts, strict=True):
        check(case, inputs, want, roads.exported_module(ours, inputs), FP32, "the module that is exported")
    ours.compile(backend="onnxruntime", **buckets)
    config = model.config.to_dict()
    assert roads.input_names(ours) == graph_inputs(find(case.model_type), config, config.get("type_vocab_size"))
    assert roads.table(ours) in (None, roads.embeddings(model)), "ids past it would be refused, or go unnoticed"
    if case.name in counts.KNOWN:
        counts.agree(case, ours, build(case))
    for inputs, want in zip(parts, wanted_parts, strict=True):
        check(case, inputs, want, roads.graph(ours, inputs), FP32, "the graph")
    for inputs, want in zip(given, wanted, strict=True):
        check(case, inputs, want, roads.program(ours, inputs), FP32, "the host's program")
    if case.name in EACH_BUILD:
        ours.compile(backend="openvino", **buckets)
        for inputs, want in zip(given, wanted, strict=True):
            check(case, inputs, want, roads.program(ours, inputs), FP32, "the program for OpenVINO")
    ours.compile(backend="qaic", batch_size=2, **buckets)
    for inputs, want in zip(given, wanted, strict=True):
        check(case, inputs, want, roads.program(ours, inputs), case.fp16, "the card's program")
    ours.close()


def check(
    case: Case, inputs: Inputs, want: roads.Arrays, got: roads.Arrays, limits: tuple[float, float], road: str
) -> None:
    """Both figures of every output are within their limits."""
    assert len(want) == len(got)
    for one, other in zip(want, got, strict=True):
        assert one.shape == other.shape, road
        cosine, difference = roads.agreement(*(roads.real_entries(case, inputs, side) for side in (one, other)))
        shapes = {name: list(value.shape) for name, value in inputs.items()}
        assert cosine >= limits[0] and difference <= limits[1], f"{road}: {cosine:.7f}, {difference:.1e} at {shapes}"


def refused(case: Case) -> None:
    """The error names the type and the reason."""
    with pytest.raises(QEfficientError) as caught:
        QEFFAutoModel(build(case)).compile(backend="onnxruntime")
    assert repr(case.model_type) in str(caught.value)
    assert case.refused in str(caught.value)
