"""The steps of a head, in words: needs no torch, so that a warm start does not load it.

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

from QEfficient.records import Json

Steps = tuple[Mapping[str, Json], ...]

SIGNATURE = "(last_hidden_states, attention_mask) -> (batch, dim)"
"""What the caller's own pooling takes and gives, as errors say it."""

MODES = ("cls", "last_token", "max", "mean", "mean_sqrt_len", "weighted_mean")
"""The pooling modes that a head can compute."""

POOLER = "pooler_output"
"""HuggingFace's own pooled output, where the model has one; a step of its own, as it does not work on the states."""


def callable_name(pooling: Callable[..., Any]) -> str:
    """``module.qualified_name`` of a function, or of the class of a callable object. Never its address."""
    named = pooling if hasattr(pooling, "__qualname__") else type(pooling)
    return f"{named.__module__}.{named.__qualname__}"
