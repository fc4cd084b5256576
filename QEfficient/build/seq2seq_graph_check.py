"""The check of a graph with an encoder when it is exported: step by step against HuggingFace's own logits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from QEfficient.build.steps_check import check_steps, finite
from QEfficient.export.isolated import isolated
from QEfficient.numerics.decoder_steps import CACHE_SLOTS, Logits
from QEfficient.numerics.source_steps import DECODED, PADDING, SOURCES, SourceSteps
from QEfficient.pytorch_transforms.blocks import exportable
from QEfficient.records import SOURCE_DIM, Caches, OnnxModel, Shape
from QEfficient.tasks.text2text_generation import OWN_CTX_DIM, SOURCE_CTX_DIM, SourceForm
from QEfficient.tasks.text_generation import SLOTS_DIM

if TYPE_CHECKING:
    from QEfficient.source.recipe import Recipe

_ROWS = 4  # of the largest call


def check_seq2seq(recipe: Recipe, form: SourceForm, caches: Caches, model: OnnxModel) -> float:
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
    limit = recipe.architecture.max_length(recipe.origin.config()) or max(*DECODED, *SOURCES) + PADDING
    steps = SourceSteps(
        _random(recipe, SOURCES, limit - PADDING, 0), _random(recipe, DECODED, limit, 1), form.continuous
    )
    wanted = _reference(recipe, steps)
    longest, decoded = max(map(len, steps.sources)), max(map(len, steps.sequences))
    sizes = {
        SOURCE_DIM: longest + PADDING,
        SOURCE_CTX_DIM: longest + 1,
        OWN_CTX_DIM: decoded + 1,
        SLOTS_DIM: CACHE_SLOTS,
    }
    rows = _ROWS if form.continuous else _ROWS - 1
    free = {dim for spec in model.inputs for dim in spec.shape}
    shape = Shape(decoded, rows, {dim: size for dim, size in sizes.items() if dim in free})
    return check_steps(recipe, model, steps, wanted, shape)


def _random(recipe: Recipe, lengths: tuple[int, ...], most: int, seed: int) -> list[list[int]]:
    """Ids without padding: M2M-100 counts no position for it, and one too many where it keeps a cache."""
    config: Any = recipe.origin.module().config
    rng = np.random.default_rng(seed)
    ids = [token for token in range(min(int(config.vocab_size), 10_000)) if token != config.pad_token_id]
    return [rng.choice(ids, max(1, min(length, most))).tolist() for length in lengths]


@isolated
def _reference(recipe: Recipe, steps: SourceSteps) -> list[Logits]:
    """HuggingFace's logits of each sequence, of a call of its own without a cache."""
    model: Any = exportable(recipe.origin.module())[0]
    found: list[Logits] = []
    for source, ids in zip(steps.sources, steps.sequences, strict=True):
        with torch.no_grad():
            given = {"input_ids": torch.tensor([list(source)]), "decoder_input_ids": torch.tensor([list(ids)])}
            logits = model(**given, use_cache=False).logits[0].float()
        finite(recipe, logits, len(ids))
        found.append(dict(enumerate(logits.numpy())))
    return found
