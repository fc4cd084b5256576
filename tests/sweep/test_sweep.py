"""Every model type: HuggingFace = the module that is exported = its graph = the host's program = the card's program."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from QEfficient import QEFFAutoModel
from QEfficient.errors import QEfficientError
from tests.sdk import make_sdk
from tests.sweep import roads
from tests.sweep.all_cases import CASES
from tests.sweep.build import batches, build
from tests.sweep.case import Case

SUPPORTED = [case for case in CASES if not case.refused]
REFUSED = [case for case in CASES if case.refused]

FP32 = (0.99999, 1e-5)  # least cosine, largest difference as a part of the norm


@pytest.mark.parametrize("case", SUPPORTED, ids=lambda case: case.name)
def test_all_roads_give_huggingface_s_numbers(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QEFF_QAIC_SDK", str(make_sdk(tmp_path / "sdk").root))
    model = build(case)
    ours = QEFFAutoModel(build(case), pooling=case.pooling)
    given = [roads.wanted_types(ours, inputs) for inputs in batches(case)]
    wanted = [roads.reference(case, model, inputs) for inputs in given]
    for inputs, want in zip(given, wanted, strict=True):
        if roads.pads(case, model):
            check(case, inputs, want, roads.exported_module(ours, inputs), FP32, "the module that is exported")
    ours.compile(backend="onnxruntime", **roads.lengths(case, model, given))
    for inputs, want in zip(given, wanted, strict=True):
        if roads.pads(case, model):
            check(case, inputs, want, roads.graph(ours, inputs), FP32, "the graph")
        check(case, inputs, want, roads.program(ours, inputs), FP32, "the host's program")
    ours.compile(backend="qaic", batch_size=2, **roads.lengths(case, model, given))
    for inputs, want in zip(given, wanted, strict=True):
        check(case, inputs, want, roads.program(ours, inputs), case.fp16, "the card's program")
    ours.close()


def check(
    case: Case, inputs: dict[str, torch.Tensor], want: roads.Arrays, got: roads.Arrays, limits: tuple[float, float], road: str
) -> None:
    """Both figures of every output are within their limits."""
    assert len(want) == len(got)
    for one, other in zip(want, got, strict=True):
        assert one.shape == other.shape, road
        cosine, difference = roads.agreement(*(roads.real_entries(case, inputs, side) for side in (one, other)))
        shape = {name: list(value.shape) for name, value in inputs.items()}
        assert cosine >= limits[0] and difference <= limits[1], f"{road}: {cosine:.7f}, {difference:.1e} at {shape}"


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.name)
def test_what_can_not_be_right_is_refused_by_name(case: Case) -> None:
    with pytest.raises(QEfficientError) as caught:
        QEFFAutoModel(build(case)).compile(backend="onnxruntime")
    assert repr(case.model_type) in str(caught.value)
    assert case.refused in str(caught.value)
