"""Merges a PEFT adapter into the weights of its base, so that nothing of it is left to compute or to export.

The adapter is read by peft's own loader. That of transformers 5.24 leaves the magnitudes of DoRA at their first values,
and its parts that manage adapters ask for a peft that is not out yet.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from QEfficient.errors import LoadError, MissingExtraError

if TYPE_CHECKING:
    from peft import PeftConfig

_TOP = "base_model.model."  # what peft writes before each name
_GENERATIVE = ("CAUSAL_LM", "SEQ_2_SEQ_LM")


def merge_adapter(model: nn.Module, folder: Path, name: str) -> frozenset[str]:
    """Changes the model's weights in place.

    As transformers has it, an adapter of a whole model fits its encoder, and an adapter of an encoder fits a model with
    a head on it.

    Args:
        model: The base, in memory, for nobody else's use.
        folder: The adapter.
        name: What an error calls it.

    Returns:
        The names of weights that the adapter holds in full, such as those of a head.

    Raises:
        MissingExtraError: peft is not installed.
        LoadError: The adapter does not fit the model, or can't be merged into weights.
    """
    peft = _peft(name)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what peft warns of is an error here, or no concern of who loads
            config = peft.PeftConfig.from_pretrained(str(folder))
            _refuse_unmergeable(config, name)
            part, weights = _place(model, peft.utils.load_peft_weights(str(folder), device="cpu"))
            wrapped = peft.get_peft_model(part, config)
            wrong = _load(peft, wrapped, weights)
            if not wrong:
                wrapped.merge_and_unload(safe_merge=True)
    except LoadError:
        raise
    except Exception as error:  # peft raises whatever its tuners raise
        raise LoadError(
            f"peft could not merge the adapter {name!r} into its base.",
            got=f"{type(error).__name__}: {error}",
            allowed="an adapter that fits the base, of a kind that can be merged into weights",
            do="check that it is the adapter's own base and class; a head of another size needs num_labels=",
        ) from error
    if wrong:
        raise LoadError(
            f"The adapter {name!r} does not fit its base.",
            got=wrong,
            allowed="a weight for each part that the adapter's config adds to the base, and no other",
            do="load it with the class of the task that it was trained for, and with its own base",
        )
    return frozenset(key.removeprefix(_TOP) for key in weights)


def _peft(name: str) -> Any:
    try:
        import peft
    except ImportError as error:
        raise MissingExtraError(
            f"{name!r} is a model with an adapter, and the package that merges adapters is not installed.",
            got=str(error),
            allowed="peft>=0.21.2,<1",
            do='pip install "QEfficient[adapters]"; or merge it elsewhere (peft: merge_and_unload) and save the model',
        ) from error
    return peft


def _refuse_unmergeable(config: PeftConfig, name: str) -> None:
    """Some adapters are no change of weights: prompts that are learnt, and those that only some tokens switch on."""
    if config.is_prompt_learning or getattr(config, "alora_invocation_tokens", None):
        raise LoadError(
            f"The adapter {name!r} can't be merged into weights.",
            got=f"peft_type={config.peft_type.value}"
            + ("" if config.is_prompt_learning else ", with alora_invocation_tokens"),
            allowed="adapters that change weights, such as LoRA, DoRA, IA3, LoHa or VeRA",
            do="run this model with peft itself",
        )
    if config.task_type in _GENERATIVE:
        config.task_type = None  # peft would ask an encoder for methods that generate; the weights are the same


def _place(model: Any, weights: Mapping[str, torch.Tensor]) -> tuple[nn.Module, dict[str, torch.Tensor]]:
    """The part of the model that the adapter changes, and the adapter's weights under that part's names."""
    inner = f"{model.base_model_prefix}."
    names = {key: key.removeprefix(_TOP) for key in weights}
    whole = any(short.startswith(inner) for short in names.values())
    if model.base_model is model and whole:  # of the model with a head: the encoder's share
        return model, {
            _TOP + short.removeprefix(inner): weights[key] for key, short in names.items() if short.startswith(inner)
        }
    if model.base_model is not model and not whole:
        return model.base_model, dict(weights)
    return model, dict(weights)


def _load(peft: Any, wrapped: Any, weights: Mapping[str, torch.Tensor]) -> str:
    """Puts the weights in place; says what was left over or is missing, which would stay random."""
    expected = peft.get_peft_model_state_dict(wrapped, save_embedding_layers=False)
    found = peft.set_peft_model_state_dict(wrapped, dict(weights))
    missing, more = sorted(set(expected) - set(weights)), sorted(found.unexpected_keys)
    shown = ", ".join([*missing, *more][:4])
    return f"{len(missing)} missing, {len(more)} that belong nowhere: {shown}" if shown else ""
