"""The check of a decoder's graph when it is exported: step by step against HuggingFace's own logits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from QEfficient.build.decoder_caches import is_tried
from QEfficient.build.steps_check import check_steps, finite
from QEfficient.export.isolated import isolated
from QEfficient.numerics.decoder_steps import CACHE_SLOTS, LENGTHS, Logits, Steps
from QEfficient.pytorch_transforms.blocks import exportable
from QEfficient.records import NUM_LOGITS_TO_KEEP, Caches, OnnxModel, Shape
from QEfficient.tasks.text_generation import CTX_DIM, SLOTS_DIM, WINDOW_DIM, DecoderForm

if TYPE_CHECKING:
    from QEfficient.source.recipe import Recipe

KEPT = 3
"""Logits of a row that are compared, where the graph keeps several."""

_BEHIND, _LONGEST = 40, 1200  # positions behind a window that are compared; windows that are longer are not gone around


def check_decoder(recipe: Recipe, form: DecoderForm, caches: Caches, model: OnnxModel) -> float:
    """Checks a graph against HuggingFace's logits, from caches that are full of NaN.

    Args:
        recipe: Which model.
        form: Which of its graphs it is.
        caches: What its layers keep.
        model: The graph.

    Returns:
        The largest difference of a logit, ÷ the largest logit of its row.

    Raises:
        VerificationError: They differ; names the type, and where.
        NumericsError: HuggingFace's own logits are not finite.
    """
    limit = recipe.architecture.max_length(recipe.origin.config()) or _LONGEST
    windows = [cache.window for cache in caches if cache.window is not None]
    longest = max([LENGTHS[0], *(window + _BEHIND for window in windows if window + _BEHIND <= _LONGEST)])
    if is_tried(recipe):
        longest = _LONGEST  # it may see less of what is far than its config says
    config: Any = recipe.origin.module().config
    vocabulary, rng = int(config.get_text_config().vocab_size), np.random.default_rng(0)
    ids = [rng.integers(0, vocabulary, min(length, limit)).tolist() for length in (longest, *LENGTHS[1:])]
    steps = Steps(ids, form.continuous, KEPT if form.keeps_logits else None)
    wanted = _reference(recipe, steps)
    rings = [cache.window for cache in caches if cache.ring and cache.window is not None]
    sizes = {
        CTX_DIM: len(ids[0]) + 1,
        SLOTS_DIM: CACHE_SLOTS,
        WINDOW_DIM: max(rings, default=1),
        NUM_LOGITS_TO_KEEP: KEPT,
    }
    return check_steps(recipe, model, steps, wanted, Shape(len(ids[0]), len(ids) + form.continuous, sizes))


@isolated
def _reference(recipe: Recipe, steps: Steps) -> list[Logits]:
    """HuggingFace's logits of each sequence, of a call of its own without a cache, where the steps ask for them."""
    model: Any = exportable(recipe.origin.module())[0]
    asked: list[set[int]] = [set() for _ in steps.sequences]
    for parts in steps.calls():
        for part in parts:
            asked[part.sequence].update(steps.asked(part))
    found: list[Logits] = []
    for ids, positions in zip(steps.sequences, map(sorted, asked), strict=True):
        with torch.no_grad():
            output = model(torch.tensor([list(ids)]), logits_to_keep=torch.tensor(positions)).logits[0].float()
        finite(recipe, output, len(ids))
        found.append(dict(zip(positions, output.numpy(), strict=True)))
    return found
