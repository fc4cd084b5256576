"""What a caller may say for ``pooling``, as the steps of a head. Needs no torch, so that a warm start does not load it.

A step is one JSON object, as ``QEfficient.sentence_repo`` reads them from a sentence-transformers repo:

- ``{"step": "pooling", "modes": ["mean"]}``: one vector a row; several modes are concatenated in the order given.
  With ``"include_prompt": false`` a second mask of the graph says which tokens are pooled.
- ``{"step": "dense", "in": 384, "out": 128, "bias": true, "activation": "Tanh", "weights": "2_Dense/…"}``; with
  ``"residual": true`` the input is added.
- ``{"step": "layer_norm", "dim": 384, "weights": "3_LayerNorm/…"}``
- ``{"step": "normalize"}``
- ``{"step": "layers", "start": 4, "count": 9, "weights": "1_WeightedLayerPooling/…"}``
- ``{"step": "pooler_output"}``: in place of pooling, what HuggingFace's own pooler gives.
- ``{"step": "callable", "name": "module.function"}``: the caller's own function; it can't be rebuilt from the step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from QEfficient.errors import PoolingError, nearest
from QEfficient.records import Json

Steps = tuple[Mapping[str, Json], ...]

SIGNATURE = "(last_hidden_states, attention_mask) -> (batch, dim)"
"""What the caller's own pooling takes and gives, as errors say it."""

MODES = ("cls", "last_token", "max", "mean", "mean_sqrt_len", "weighted_mean")
"""The pooling modes that a head can compute."""

ALIASES = {"avg": "mean"}

POOLER = "pooler_output"
"""HuggingFace's own pooled output, where the model has one; a step of its own, as it does not work on the states."""

NAMES = (*sorted((*MODES, *ALIASES, POOLER)), "auto")
"""What a caller may write; ``"auto"`` is resolved before it gets here, from the repo's ``modules.json``."""


def parse_pooling(pooling: str | Callable[..., Any] | None) -> Steps:
    """The steps that a ``pooling`` argument stands for.

    Args:
        pooling: ``None`` (one vector a token), a name of :data:`NAMES` but ``"auto"``, or a callable
            ``(last_hidden_states, attention_mask) -> (batch, dim)``.

    Raises:
        PoolingError: The name is unknown, or it is neither a name nor a callable.
    """
    if pooling is None:
        return ()
    if isinstance(pooling, str):
        mode = ALIASES.get(pooling, pooling)
        if mode == POOLER:
            return ({"step": POOLER},)
        if mode in MODES:
            return ({"step": "pooling", "modes": [mode]},)
        fix = "choose one of these; pooling='auto' reads the modules.json of a sentence-transformers repo"
        raise _no_pooling(f"This pooling is unknown here.{nearest(pooling, NAMES)}", pooling, fix)
    if callable(pooling):
        return ({"step": "callable", "name": callable_name(pooling)},)
    raise _no_pooling("Pooling is neither a name nor a callable.", pooling, "pass one of these names, or a function")


def _no_pooling(what: str, got: object, do: str) -> PoolingError:
    return PoolingError(what, got=got, allowed=f"{', '.join(NAMES)}, None or a callable {SIGNATURE}", do=do)


def callable_name(pooling: Callable[..., Any]) -> str:
    """``module.qualified_name`` of a function, or of the class of a callable object. Never its address."""
    named = pooling if hasattr(pooling, "__qualname__") else type(pooling)
    return f"{named.__module__}.{named.__qualname__}"
