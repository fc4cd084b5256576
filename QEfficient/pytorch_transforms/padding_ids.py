"""Models that pick a token by its id, where the ids of padding must not count: the mask knows better.

A causal classifier scores a row by the last id that is not the config's ``pad_token_id``. Without one it takes
the last column, and so one row at a time only; with one that no token has (-1) it takes the last column too, padding or
not. So its head is shown an id that is no token's where the mask is 0, and a config that names that id.

CLIP pools the state of a row's first end token. Where rows are filled with end tokens, padding on the left has one too.
So the model is shown some other id where the mask is 0.
"""

from __future__ import annotations

import copy
import math
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from QEfficient.pytorch_transforms.blocks import structural_copy

NO_TOKEN = -1
"""What a classifier's head is shown where the mask is 0."""

Call = tuple[tuple[Any, ...], dict[str, Any]]
"""Arguments and keywords of a module's forward."""


def hide_padding(model: nn.Module, token: int) -> None:
    """Shows the model another id where the mask is 0, in place.

    Args:
        model: A copy of HuggingFace's model.
        token: The id.
    """
    model.register_forward_pre_hook(partial(_hide, token), with_kwargs=True)


def no_end(end_id: int | None) -> int:
    """The least id that is no end token; a model may also take the largest id of a row for its end (old CLIP)."""
    return 1 if end_id == 0 else 0


def takes_last_column(model: nn.Module) -> bool:
    """Whether the model scores a row by the last column, because its config names no token that fills rows.

    It is found out by asking: without a pad id such a model takes one row, and refuses two.
    """
    if not isinstance(model, PreTrainedModel) or model.base_model is model or model.config.is_encoder_decoder:
        return False
    pad = getattr(model.config.get_text_config(), "pad_token_id", None)
    if pad is not None and 0 <= pad < _words(model):
        return False
    twin: Any = structural_copy(model).eval()
    _name_pad(twin, None)
    return _answers(twin, 1) and not _answers(twin, 2)


def pool_by_mask(model: nn.Module) -> None:
    """Lets such a model take the last token that the mask leaves, in place.

    Args:
        model: A copy that is to be exported.
    """
    base: Any = model.base_model
    _name_pad(model, NO_TOKEN)
    hide_padding(model, NO_TOKEN)
    base.register_forward_pre_hook(_look_up, with_kwargs=True)


def _hide(token: int, model: nn.Module, args: tuple[Any, ...], given: dict[str, Any]) -> Call:
    ids, mask = given["input_ids"], given.get("attention_mask")
    return args, given if mask is None else given | {"input_ids": torch.where(mask.bool(), ids, token)}


def _look_up(base: nn.Module, args: tuple[Any, ...], given: dict[str, Any]) -> Call:
    """What is looked up in the table of words: some word, which the mask hides."""
    if args and isinstance(args[0], Tensor):
        return (args[0].clamp(min=0), *args[1:]), given
    return args, given | {"input_ids": given["input_ids"].clamp(min=0)}


def _answers(model: nn.Module, rows: int) -> bool:
    ids = torch.zeros(rows, 1, dtype=torch.int64)
    try:
        with torch.no_grad():
            model(input_ids=ids, attention_mask=torch.ones_like(ids))
    except Exception:  # a model's code may fail in any way
        return False
    return True


def _name_pad(model: nn.Module, pad: int | None) -> None:
    """Changes the pad id that the head reads; the parts below it keep their own config."""
    config: Any = copy.deepcopy(model.config)
    for part in (config, config.get_text_config()):
        vars(part)["pad_token_id"] = pad  # past the check of types: some configs take no None
    model.config = config


def _words(model: PreTrainedModel) -> float:
    """How many words the model knows; no bound where it does not say."""
    try:
        table: Any = model.get_input_embeddings()
    except NotImplementedError:
        return math.inf
    return int(table.weight.shape[0])
