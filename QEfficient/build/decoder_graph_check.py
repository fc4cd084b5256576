"""The check of a decoder's graph when it is exported: step by step against HuggingFace's own logits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from QEfficient.backends import registry
from QEfficient.backends.base import Retaining, Session
from QEfficient.build.decoder_caches import is_tried
from QEfficient.cache import Cache
from QEfficient.errors import NumericsError, VerificationError
from QEfficient.export.isolated import isolated
from QEfficient.numerics.decoder_steps import CACHE_SLOTS, LARGEST_ERROR, LENGTHS, Logits, Steps, worst_difference
from QEfficient.numerics.host import CHECKED_ON
from QEfficient.pytorch_transforms.blocks import exportable
from QEfficient.records import MODEL, Caches, CompileOptions, OnnxModel, Shape, Target
from QEfficient.runtime.freed import give_back
from QEfficient.tasks.text_generation import CTX_DIM, KEPT_DIM, SLOTS_DIM, WINDOW_DIM, DecoderForm

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
    recipe.origin.release()
    give_back()  # torch's weights go before onnxruntime holds the graph's
    rings = [cache.window for cache in caches if cache.ring and cache.window is not None]
    sizes = {CTX_DIM: len(ids[0]) + 1, SLOTS_DIM: CACHE_SLOTS, WINDOW_DIM: max(rings, default=1), KEPT_DIM: KEPT}
    with poisoned(model, Shape(len(ids[0]), len(ids) + form.continuous, sizes)) as session:
        worst, wrong = worst_difference(steps, session.run, wanted)
    give_back()
    refuse_difference(recipe, wrong)
    return worst


def refuse_difference(recipe: Recipe, wrong: str) -> None:
    """Refuses a graph of which something is wrong, in words.

    Raises:
        VerificationError: There are any.
    """
    if wrong:
        raise VerificationError(
            f"The graph of {recipe.origin.name!r} does not give HuggingFace's logits.",
            got=f"model_type={recipe.architecture.model_type!r}: {wrong}",
            allowed=f"logits within {LARGEST_ERROR:g} of the largest, and the same best token",
            do='report the model\'s type; verify="off" takes the risk and is recorded',
            verification=None,
        )


def finite(recipe: Recipe, logits: torch.Tensor, tokens: int) -> None:
    """Refuses a model whose own logits, behind so many tokens, are no numbers to compare with.

    Raises:
        NumericsError: They are not finite.
    """
    if not torch.isfinite(logits).all():
        raise NumericsError(
            f"HuggingFace's own {recipe.origin.name!r} gives logits that are not finite.",
            got=f"NaN or Inf in {tokens} tokens",
            allowed="finite numbers",
            do="check the weights for NaN and Inf",
        )


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


@contextmanager
def poisoned(model: OnnxModel, shape: Shape) -> Iterator[Session]:
    """A graph in onnxruntime, its caches full of NaN."""
    backend = registry.get(CHECKED_ON)
    with Cache().work_folder() as folder:
        target = Target(backend=backend.name, compute=backend.compute[0])
        program = backend.compile({MODEL: model}, {MODEL: (shape,)}, target, CompileOptions(), folder)
        with backend.open(program) as session:
            assert isinstance(session, Retaining)  # its graph has state
            states = {spec.name: np.full(spec.at(shape)[1:], np.nan, np.float32) for spec in session.states}
            for slot in range(session.states[0].at(shape)[0]):
                session.write(slot, states)
            yield session
