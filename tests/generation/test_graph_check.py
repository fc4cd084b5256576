"""The check at export finds what a decoder's graph gets wrong; each fault is planted, in each type that can have it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from QEfficient.architectures import find
from QEfficient.build import decoder_graph
from QEfficient.build.decoder_caches import caches_of
from QEfficient.build.decoder_graph import decoder_module, export_decoder
from QEfficient.errors import NotYetSupportedError, VerificationError
from QEfficient.pytorch_transforms.rotary import RotaryTable
from QEfficient.pytorch_transforms.slot_cache import NOWHERE, Placement
from QEfficient.records import Caches
from QEfficient.source.recipe import Recipe
from QEfficient.tasks.text_generation import DecoderForm
from tests.generation.tiny_decoders import CONFIGS, OTHERS, TYPES, VARIANTS, one_layer, recipe_for, tiny_decoder

BY_DISTANCE = ("bloom", "mpt")
WINDOWS = [name for name in CONFIGS if "sliding_window" in CONFIGS[name]]


def swept(names: list[str]) -> list[Any]:
    """As :data:`TYPES` has them."""
    return [pytest.param(name, marks=pytest.mark.sweep if name in OTHERS else ()) for name in names]


def checked(model_type: str, folder: Path, verify: str = "on", **changes: Any) -> Caches:
    """Exports one layer of a type and checks it; what it keeps."""
    recipe = replace(recipe_for(tiny_decoder(model_type, **one_layer(model_type, changes))), verify=verify)
    export_decoder(recipe, DecoderForm(), folder / "graph")
    return caches_of(recipe)


@pytest.mark.parametrize("model_type", swept(WINDOWS))
def test_a_wrong_window_fails(model_type: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def wider(recipe: Recipe) -> Caches:
        return tuple(replace(cache, window=(cache.window or 0) + 1) for cache in caches_of(recipe))

    assert all(cache.window for cache in checked(model_type, tmp_path / "right"))
    monkeypatch.setattr(decoder_graph, "caches_of", wider)
    with pytest.raises(VerificationError, match=f"model_type='{model_type}'.* at position"):
        checked(model_type, tmp_path)


def test_a_wrong_rotary_position_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked_up = RotaryTable.forward

    def from_the_chunk_on(self: RotaryTable, x: Tensor, position_ids: Tensor, layer_type: str | None = None) -> Any:
        return looked_up(self, x, position_ids - position_ids[:, :1], layer_type)

    monkeypatch.setattr(RotaryTable, "forward", from_the_chunk_on)
    with pytest.raises(VerificationError, match="model_type='llama'"):
        checked("llama", tmp_path)


@pytest.mark.parametrize("model_type", swept([name for name in CONFIGS if name not in BY_DISTANCE]))
def test_positions_that_begin_anew_with_a_chunk_fail(
    model_type: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def from_the_chunk_on(*given: Any) -> Any:
        module: Any = decoder_module(*given)
        right: Callable[..., Any] = module.model.forward

        def forward(*, position_ids: Tensor, **others: Any) -> Any:
            return right(position_ids=(position_ids - position_ids[:, :1]).clamp(0), **others)

        module.model.forward = forward
        return module

    monkeypatch.setattr(decoder_graph, "decoder_module", from_the_chunk_on)
    with pytest.raises(VerificationError, match=f"model_type='{model_type}'"):
        checked(model_type, tmp_path)


@pytest.mark.parametrize("model_type", swept(list(BY_DISTANCE)))
def test_distances_that_begin_anew_with_a_chunk_fail(
    model_type: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = Placement.away.fget
    assert right is not None

    def from_the_chunk_on(self: Placement) -> Tensor:
        found: Tensor = right(self) + self.positions[:, :1, None]
        return found

    monkeypatch.setattr(Placement, "away", property(from_the_chunk_on))
    with pytest.raises(VerificationError, match=f"model_type='{model_type}'"):
        checked(model_type, tmp_path)


@pytest.mark.parametrize("model_type", TYPES)
def test_a_lost_row_of_the_cache_fails(model_type: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Placement.scatter

    def lossy(self: Placement, state: Tensor, places: Tensor, new: Tensor) -> Tensor:
        return kept(self, state, torch.where(places == 4, NOWHERE, places), new)

    monkeypatch.setattr(Placement, "scatter", lossy)
    with pytest.raises(VerificationError, match="NaN or Inf at position|model_type='gemma3_text'"):
        checked(model_type, tmp_path)


@pytest.mark.sweep
@pytest.mark.parametrize("name", VARIANTS)
def test_other_forms_of_a_type_s_blocks_pass(name: str, tmp_path: Path) -> None:
    model_type, changes = VARIANTS[name]
    checked(model_type, tmp_path, **changes)


def test_what_is_kept_is_not_repeated(tmp_path: Path) -> None:
    """Heads of keys and values in the cache, of models that share them in their own ways."""
    heads = {name: layers_of(*VARIANTS[name]) for name in VARIANTS}
    assert heads["falcon in groups"] == 2 and heads["falcon of old"] == 4 and layers_of("falcon", {}) == 1
    assert layers_of("gpt_bigcode", {}) == 1 and heads["gpt_bigcode of all heads"] == 4
    assert layers_of("gpt2", {}) == layers_of("mpt", {}) == layers_of("opt", {}) == 4


def layers_of(model_type: str, changes: dict[str, Any]) -> int:
    return caches_of(recipe_for(tiny_decoder(model_type, **changes)))[0].kv_heads


@pytest.mark.parametrize(
    ("model_type", "changes"),
    [("gemma3_text", {"use_bidirectional_attention": True}), ("gpt2", {"add_cross_attention": True})],
)
def test_a_model_that_can_not_write_text_is_refused(model_type: str, changes: dict[str, Any]) -> None:
    with pytest.raises(NotYetSupportedError, match=model_type):
        caches_of(recipe_for(tiny_decoder(model_type, **changes)))


def test_nothing_is_checked_of_a_known_type_with_verify_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoder_graph, "check_decoder", lambda *_: pytest.fail("checked"))
    assert find("llama").caches
    checked("llama", tmp_path, verify="off")
