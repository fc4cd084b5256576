"""What a model's layers keep of earlier tokens: of a type that is known to write text, or of one that is tried.

A type that no rule names is taken for a decoder of the usual kind, as its config describes it. Its graph is compared
with HuggingFace whatever the caller says; where it differs, or can't be made, the type is refused with the reason.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from QEfficient.architectures import writers
from QEfficient.architectures.caches import alike
from QEfficient.errors import (
    ArtefactError,
    ExportError,
    LoadError,
    NotYetSupportedError,
    NumericsError,
    VerificationError,
)
from QEfficient.records import Caches

if TYPE_CHECKING:
    from QEfficient.source.recipe import Recipe


def caches_of(recipe: Recipe) -> Caches:
    """What the model's layers keep of earlier tokens. It loads the model: its config has every key.

    Raises:
        NotYetSupportedError: Models of this type, or this one, don't write text here.
    """
    architecture, config = recipe.architecture, recipe.origin.config()
    architecture.check(config)
    if (reason := architecture.writes(config)) is not None:
        raise _refusal(recipe, f" where {reason}")
    if is_tried(recipe) and (reason := _unfit(recipe)) is not None:
        raise _refusal(recipe, f": {reason}")
    with tried(recipe):
        model: Any = recipe.origin.module()
        return architecture.layers_keep()(alike(model.config.to_dict(), model.config.attribute_map))


def is_tried(recipe: Recipe) -> bool:
    """Whether nothing is known about the decoders of the model's type."""
    return recipe.architecture.caches is None


@contextmanager
def tried(recipe: Recipe) -> Iterator[None]:
    """What goes wrong in the block with a type that is not known becomes its refusal.

    Raises:
        NotYetSupportedError: Names the type and the reason.
    """
    try:
        yield
    except _NOT_OF_THE_TYPE:
        raise
    except Exception as error:  # transformers' code of any type, given what it was not written for
        if not is_tried(recipe) or (isinstance(error, NumericsError) and not isinstance(error, VerificationError)):
            raise
        told = isinstance(error, (ExportError, VerificationError))
        why = str(getattr(error, "got", "")) if told else f"{type(error).__name__}: {error}"
        raise _refusal(recipe, ": they were tried as decoders of the usual kind, and differ", why) from error


_NOT_OF_THE_TYPE = (NotYetSupportedError, LoadError, ArtefactError, OSError, MemoryError)
"""Errors about files, keywords and the machine."""


def _unfit(recipe: Recipe) -> str | None:
    """Why a type that is not known need not be tried."""
    import transformers

    config = recipe.origin.config()
    if config.get("is_encoder_decoder"):
        return "they go on from the states of an encoder"
    if parts := [name for name in _OTHER_PARTS if config.get(name)]:
        return f"they read more than text ({', '.join(parts)})"
    if getattr(getattr(transformers, recipe.origin.class_name(), None), "_is_stateful", False):
        return "some of their layers keep a running state, not keys and values"
    return None


_OTHER_PARTS = ("vision_config", "audio_config", "text_config", "vq_config")
"""Keys of configs of models that read images or sound."""


def _refusal(recipe: Recipe, what: str, why: str = "") -> NotYetSupportedError:
    name = recipe.architecture.model_type
    return NotYetSupportedError(
        f"Models of the type {name!r} can't write text{what}.",
        got=f"model_type={name!r}" + (f": {why}" if why else ""),
        allowed=f"{', '.join(writers())}; others where their graph gives HuggingFace's logits",
        do="use transformers for this model, or choose one of another type",
    )
