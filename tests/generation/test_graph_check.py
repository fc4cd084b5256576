"""The check at export finds what a decoder's graph gets wrong; each fault is planted."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from QEfficient.build import decoder_graph
from QEfficient.build.decoder_graph import caches_of, export_decoder
from QEfficient.errors import NotYetSupportedError, VerificationError
from QEfficient.pytorch_transforms.rotary import RotaryTable
from QEfficient.pytorch_transforms.slot_cache import NOWHERE, Placement
from QEfficient.tasks.text_generation import DecoderForm
from tests.generation.tiny_decoders import recipe_for, tiny_decoder


def checked(model_type: str, folder, **changes):
    recipe = replace(recipe_for(tiny_decoder(model_type, num_hidden_layers=1, **changes)), verify="on")
    return export_decoder(recipe, DecoderForm(), folder / "graph")


@pytest.mark.parametrize(
    ("model_type", "changes"), [("mistral", {}), ("gemma3_text", {"layer_types": ["sliding_attention"]})]
)
def test_a_wrong_window_fails(model_type, changes, tmp_path, monkeypatch):
    def wider(recipe):
        return tuple(replace(cache, window=cache.window + 1) for cache in caches_of(recipe))

    checked(model_type, tmp_path / "right", **changes)
    monkeypatch.setattr(decoder_graph, "caches_of", wider)
    with pytest.raises(VerificationError, match=f"model_type='{model_type}'.* at position"):
        checked(model_type, tmp_path, **changes)


def test_a_wrong_rotary_position_fails(tmp_path, monkeypatch):
    looked_up = RotaryTable.forward

    def from_the_chunk_on(self, x, position_ids, layer_type=None):
        return looked_up(self, x, position_ids - position_ids[:, :1], layer_type)

    monkeypatch.setattr(RotaryTable, "forward", from_the_chunk_on)
    with pytest.raises(VerificationError, match="model_type='llama'"):
        checked("llama", tmp_path)


def test_a_lost_row_of_the_cache_fails(tmp_path, monkeypatch):
    kept = Placement.scatter

    def lossy(self, state, places, new):
        return kept(self, state, torch.where(places == 4, NOWHERE, places), new)

    monkeypatch.setattr(Placement, "scatter", lossy)
    with pytest.raises(VerificationError, match="NaN or Inf at position"):
        checked("llama", tmp_path)


@pytest.mark.parametrize(("model_type", "changes"), [("gemma3_text", {"use_bidirectional_attention": True})])
def test_a_model_that_can_not_write_text_is_refused(model_type, changes, tmp_path):
    with pytest.raises(NotYetSupportedError, match=model_type):
        caches_of(recipe_for(tiny_decoder(model_type, **changes)))
