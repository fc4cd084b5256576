"""The mask of a clip's frames, and writes where a mask is true, in the form that is exported."""

from __future__ import annotations

import copy

import pytest
import torch

from QEfficient.architectures import find
from QEfficient.pytorch_transforms.speech import FRAME_MASK, MaskedWrites, replace_frame_masks
from QEfficient.runtime.run import frame_count
from tests.sweep import audio
from tests.sweep.build import build

CASE = next(case for case in audio.CASES if case.name == "wav2vec2")
SAMPLES = 240


def test_the_mask_of_frames_is_transformers_own_at_every_length() -> None:
    model = build(CASE)
    frames = find("wav2vec2").frames(model.config.to_dict())
    twin = copy.deepcopy(model)
    replace_frame_masks(twin, frames)
    lengths = torch.arange(find("wav2vec2").shortest(model.config.to_dict()), SAMPLES + 1)
    mask = (torch.arange(SAMPLES) < lengths[:, None]).to(torch.int64)
    count = frame_count(SAMPLES, frames)
    theirs = getattr(model, FRAME_MASK)(count, mask)
    assert torch.equal(getattr(twin, FRAME_MASK)(count, mask), theirs)
    assert theirs.sum(1).tolist() == [frame_count(int(length), frames) for length in lengths]


def test_models_without_frames_are_left_alone() -> None:
    model = build(CASE)
    replace_frame_masks(model, ())
    assert FRAME_MASK not in vars(model)


@pytest.mark.parametrize("number", [0, 0.0, -3.5])
def test_masked_writes_write_the_same(number: float) -> None:
    states = torch.randn(3, 4, 5)
    for mask in (torch.rand(3, 4) > 0.5, torch.rand(3, 4, 5) > 0.5, torch.zeros(3, dtype=torch.bool)):
        want, got = states.clone(), states.clone()
        want[mask] = number
        with MaskedWrites():
            got[mask] = number
        assert torch.equal(want, got)


def test_other_writes_are_torch_s_own() -> None:
    states = torch.zeros(3, 4)
    with MaskedWrites():
        states[1] = 2.0
        states[:, 0] = 1.0
        states[torch.tensor([True, False, False])] = torch.ones(4) * 5
    assert states.tolist() == [[5.0] * 4, [1.0, 2.0, 2.0, 2.0], [1.0, 0.0, 0.0, 0.0]]
