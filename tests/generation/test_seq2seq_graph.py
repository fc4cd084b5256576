"""The graph of an encoder with its decoder: the check at export finds what it gets wrong, and all types pass it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from QEfficient.build.seq2seq_graph import cross_caches_of, export_seq2seq
from QEfficient.errors import NotYetSupportedError, VerificationError
from QEfficient.pytorch_transforms.seq2seq import DistanceBias, PositionTable
from QEfficient.pytorch_transforms.source_cache import SourceCache
from QEfficient.tasks.text2text_generation import SourceForm
from tests.generation.tiny_seq2seq import CONFIGS, seq2seq_recipe, tiny_seq2seq

SMALL = {
    "t5": {"num_layers": 1, "num_decoder_layers": 1},
    "marian": {"encoder_layers": 1, "decoder_layers": 1},
    "m2m_100": {"encoder_layers": 1, "decoder_layers": 1},
}


def checked(model_type: str, folder: Path, form: SourceForm | None = None, **changes: Any) -> None:
    export_seq2seq(seq2seq_recipe(tiny_seq2seq(model_type, **changes), "on"), form or SourceForm(), folder / "graph")


@pytest.mark.slow
@pytest.mark.sweep
@pytest.mark.parametrize("continuous", [True, False])
@pytest.mark.parametrize("model_type", CONFIGS)
def test_every_type_gives_transformers_logits(model_type: str, continuous: bool, tmp_path: Path) -> None:
    checked(model_type, tmp_path, SourceForm(continuous))


def test_a_distance_that_is_off_by_one_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = DistanceBias.forward
    monkeypatch.setattr(DistanceBias, "forward", lambda self, positions, keys: right(self, positions + 1, keys))
    with pytest.raises(VerificationError, match=r"model_type='t5'.* at position"):
        checked("t5", tmp_path, **SMALL["t5"])


def test_a_position_that_is_off_by_one_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = PositionTable.places
    monkeypatch.setattr(PositionTable, "places", lambda self, ids, positions: right(self, ids, positions) + 1)
    with pytest.raises(VerificationError, match="model_type='m2m_100'"):
        checked("m2m_100", tmp_path, **SMALL["m2m_100"])


def test_what_is_left_of_a_longer_source_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Validity is only ever added: the slot that had a longer source before shows it."""
    right = SourceCache.__init__

    def adding(self: Any, source: torch.Tensor, rows: Any, states: Any) -> None:
        scatter = type(rows).scatter

        def kept(placement: Any, state: torch.Tensor, places: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
            if new.shape[-1] == 1:
                places = torch.where(new[:, 0, :, 0] > 0, places, 2**31 - 1)
            return scatter(placement, state, places, new)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(type(rows), "scatter", kept)
            right(self, source, rows, states)

    monkeypatch.setattr(SourceCache, "__init__", adding)
    with pytest.raises(VerificationError, match="model_type='marian'"):
        checked("marian", tmp_path, **SMALL["marian"])


def test_another_type_is_refused_by_name() -> None:
    from transformers import UMT5Config, UMT5ForConditionalGeneration

    model = UMT5ForConditionalGeneration(UMT5Config(**{**CONFIGS["t5"], "vocab_size": 11}))
    with pytest.raises(NotYetSupportedError, match="umt5"):
        cross_caches_of(seq2seq_recipe(model))
