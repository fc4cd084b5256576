"""What is changed in a module for its training, and put back behind it: adapters, dropout, activations kept."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from QEfficient.errors import InputError, OptionError
from QEfficient.train.request import LoraSettings, TrainRequest

if TYPE_CHECKING:
    from torch import nn

_EVERY_LINEAR = "all-linear"


@contextmanager
def adjusted(module: nn.Module, request: TrainRequest) -> Iterator[None]:
    """While it is entered the module has the request's dropout, and keeps as few activations as it asks for.

    Behind it the weights can be trained that could be before: peft freezes those below its adapters. The config says
    of caches what it said before: transformers' trainer writes there that there is none, and it would be saved so.
    """
    config = getattr(module, "config", None)
    cached = getattr(config, "use_cache", None)
    trainable = {name: weight.requires_grad for name, weight in module.named_parameters()}
    before = _set_dropout(module, request.dropout)
    try:
        if request.gradient_checkpointing:
            _checkpointing(module, "enable")({"use_reentrant": False})
        yield
    finally:
        if request.gradient_checkpointing:
            _checkpointing(module, "disable")()
        if cached is not None:
            setattr(config, "use_cache", cached)  # noqa: B010  # any config's, whatever its class declares
        for part, name, value in before:
            setattr(part, name, value)
        for name, weight in module.named_parameters():
            weight.requires_grad_(trainable.get(name, weight.requires_grad))


def _checkpointing(module: nn.Module, what: str) -> Any:
    """Transformers 5.24 calls it activation checkpointing, and warns of the name that it had before."""
    new = getattr(module, f"activation_checkpointing_{what}", None)
    return new or getattr(module, f"gradient_checkpointing_{what}")


def _set_dropout(module: nn.Module, share: float | None) -> list[tuple[nn.Module, str, float]]:
    """Sets it in every part; gives what was there before. Some of transformers' parts keep theirs as plain numbers."""
    if share is None:
        return []
    from torch import nn

    found: list[tuple[nn.Module, str, float]] = []
    for part in module.modules():
        if isinstance(part, nn.Dropout):
            found.append((part, "p", part.p))
        found += [
            (part, name, value)
            for name, value in vars(part).items()
            if isinstance(value, float) and ("dropout" in name or name == "layerdrop")
        ]
    for part, name, _ in found:
        setattr(part, name, share)
    return found


def with_adapters(module: nn.Module, settings: LoraSettings) -> nn.Module:
    """A module whose linear layers have adapters, in peft's wrapper. A task's head is trained as a whole.

    One that shares weights with the encoder gets adapters too. The table of words that a language model writes with
    gets none, whether it is that which it reads with or not.

    ``peft.get_peft_model`` makes it: transformers' own ``add_adapter`` asks for a peft that is not out yet.

    Raises:
        OptionError: peft refuses the settings.
    """
    import peft

    arguments = _arguments(module, settings)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # peft asks transformers by names that are going
            warnings.filterwarnings("ignore", "fan_in_fan_out is set to False")  # it sets it for GPT-2's layers itself
            wrapped: nn.Module = peft.get_peft_model(module, peft.LoraConfig(**arguments))
    except (TypeError, ValueError) as error:
        raise OptionError(
            "peft refuses these settings of LoRA.",
            got=f"lora={dict(settings)!r}: {error}",
            allowed="arguments of peft.LoraConfig that fit the model; True for the defaults",
            do="correct lora",
        ) from error
    return wrapped


def _arguments(module: nn.Module, settings: LoraSettings) -> dict[str, Any]:
    base = getattr(module, "base_model_prefix", "")
    parts = module.named_children() if hasattr(module, base) else ()
    words = getattr(module, "get_output_embeddings", lambda: None)()
    whole = [
        name for name, part in parts if name != base and part is not words and any(True for _ in part.parameters())
    ]
    if _writes_as_it_reads(module):
        whole = []  # a head of its own weights would not be read back
    chosen: dict[str, Any] = {"target_modules": _EVERY_LINEAR, **settings}
    if whole:
        chosen = {"modules_to_save": whole, **chosen}
        if chosen["target_modules"] == _EVERY_LINEAR:
            chosen = {"exclude_modules": rf"(?:{'|'.join(whole)})(?:\..*)?", **chosen}
    return chosen


def _writes_as_it_reads(module: Any) -> bool:
    """Whether the last matrix is that of the word embeddings, as masked language models have it."""
    last = module.get_output_embeddings() if hasattr(module, "get_output_embeddings") else None
    return last is not None and last.weight is module.get_input_embeddings().weight


def merged(wrapped: nn.Module) -> nn.Module:
    """The module with its adapters in its weights, and nothing of peft left. The wrapper is of no use any more."""
    peft_model: Any = wrapped
    module: nn.Module = peft_model.merge_and_unload(safe_merge=True)
    return module


def check_trainable(module: nn.Module, checkpointing: bool = False) -> None:
    """Refuses a module in which there is nothing to train, or that can't be trained as it is to be.

    Args:
        module: What is to be trained.
        checkpointing: Whether activations are to be computed anew in the backward pass.

    Raises:
        InputError: All its weights are frozen.
        OptionError: It has no gradient checkpointing.
    """
    if checkpointing and not getattr(module, "supports_gradient_checkpointing", False):
        raise OptionError(
            "The model has no gradient checkpointing.",
            got=f"gradient_checkpointing=True for {type(module).__name__}",
            allowed="a model of transformers that supports it",
            do="drop gradient_checkpointing, or choose a smaller batch_size with gradient_accumulation",
        )
    if not any(weight.requires_grad for weight in module.parameters()):
        raise InputError(
            "All weights of the model are frozen, so there is nothing to train.",
            got=f"{type(module).__name__} without a weight that requires_grad",
            allowed="a model of which some weights can be trained",
            do="call requires_grad_(True) on the module",
        )
