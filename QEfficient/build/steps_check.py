"""A graph with caches is run step by step, from caches full of NaN, and compared with HuggingFace's own logits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import torch

from QEfficient.backends import registry
from QEfficient.backends.base import Retaining, Session
from QEfficient.cache import Cache
from QEfficient.errors import NumericsError, VerificationError
from QEfficient.numerics.decoder_steps import LARGEST_ERROR, Calls, Logits, worst_difference
from QEfficient.numerics.host import CHECKED_ON
from QEfficient.records import MODEL, CompileOptions, OnnxModel, Shape, Target
from QEfficient.runtime.freed import give_back

if TYPE_CHECKING:
    from QEfficient.source.recipe import Recipe


def check_steps(recipe: Recipe, model: OnnxModel, steps: Calls, wanted: Sequence[Logits], shape: Shape) -> float:
    """Compares the logits of each step. The model's weights are let go of before.

    Args:
        recipe: Which model.
        model: Its graph.
        steps: What is run.
        wanted: HuggingFace's logits of each sequence.
        shape: The largest that the steps need.

    Returns:
        The largest difference of a logit, ÷ the largest logit of its row.

    Raises:
        VerificationError: They differ; names the type, and where.
    """
    recipe.origin.release()
    give_back()  # torch's weights go before onnxruntime holds the graph's
    with _poisoned(model, shape) as session:
        worst, wrong = worst_difference(steps, session.run, wanted)
    give_back()
    if wrong:
        raise VerificationError(
            f"The graph of {recipe.origin.name!r} does not give HuggingFace's logits.",
            got=f"model_type={recipe.architecture.model_type!r}: {wrong}",
            allowed=f"logits within {LARGEST_ERROR:g} of the largest, and the same best token",
            do='report the model\'s type; verify="off" takes the risk and is recorded',
            verification=None,
        )
    return worst


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


@contextmanager
def _poisoned(model: OnnxModel, shape: Shape) -> Iterator[Session]:
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
