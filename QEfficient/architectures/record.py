"""What is known about a HuggingFace model type."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from QEfficient.records import Json

if TYPE_CHECKING:
    from torch import nn

    from QEfficient.pytorch_transforms.blocks import Swap

Config = Mapping[str, Json]
"""A parsed ``config.json``. A key that is missing there means transformers' own default."""


@dataclass(frozen=True, slots=True)
class Architecture:
    """Facts about one model type. Reading them needs no torch; :meth:`swaps` imports it.

    Attributes:
        model_type: As in ``config.json``.
        limit: Config → most tokens that a row can have, or ``None`` where positions are relative.
        default_pad_id: transformers' pad token id when the config names none.
        default_types: transformers' ``type_vocab_size`` when the config names none; 0 where the model has none.
        mask: ``"additive"``: the model takes a finished 4-D mask as it is. ``"own"``: it makes one itself.
        blocks: Dotted path of a block of transformers → dotted path of the block that takes its place.
        part: ``"encoder"`` where the encoder is a part of the model, reached by ``get_encoder()``.
    """

    model_type: str
    limit: Callable[[Config], int | None]
    default_pad_id: int | None = None
    default_types: int = 0
    mask: Literal["additive", "own"] = "own"
    blocks: Mapping[str, str] = field(default_factory=dict)
    part: Literal["whole", "encoder"] = "whole"

    def max_length(self, config: Config) -> int | None:
        """Most tokens that a row can have; ``None`` where the architecture sets no limit."""
        return self.limit(config)

    def pad_id(self, config: Config) -> int | None:
        """Token id that fills a row."""
        found = config.get("pad_token_id", self.default_pad_id)
        return self.default_pad_id if found is None else int(found)

    def token_types(self, config: Config) -> bool:
        """Whether the model tells two segments of a row apart, so that ``token_type_ids`` matter."""
        return bool(self.default_types) and int(config.get("type_vocab_size", self.default_types)) > 1

    def mask_kind(self, config: Config) -> Literal["additive", "own"]:
        """As :attr:`mask`; a model that is set up as a decoder needs its own, causal one."""
        return "own" if config.get("is_decoder") else self.mask

    def encoder_of(self, model: nn.Module) -> nn.Module:
        """The module that turns token ids into states."""
        config = getattr(model, "config", None)
        if self.part == "encoder" or getattr(config, "is_encoder_decoder", False):
            get: Any = getattr(model, "get_encoder", None)
            encoder: nn.Module = model if get is None else get()
            return encoder
        return model

    def swaps(self) -> tuple[Swap, ...]:
        """The block swaps of this architecture. Imports torch and the model's code."""
        from QEfficient.pytorch_transforms.blocks import Swap  # torch stays out of the warm path

        return tuple(Swap(_load(source), _load(target)) for source, target in self.blocks.items())


def _load(path: str) -> Any:
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def no_limit(config: Config) -> int | None:
    """Relative positions: any length."""
    return None


def positions(config: Config, default: int = 512) -> int:
    """One position a token, counted from 0, in a table of ``max_position_embeddings``."""
    return int(config.get("max_position_embeddings", default))


def positions_after_pad(config: Config, default: int = 512, default_pad_id: int = 1) -> int:
    """Positions counted from pad id + 1, as RoBERTa counts them: 514 positions take 512 tokens."""
    pad = config.get("pad_token_id", default_pad_id)
    return positions(config, default) - int(default_pad_id if pad is None else pad) - 1


def any_positions(config: Config) -> int | None:
    """For a type without a file: what the config calls its positions. The export is checked against torch."""
    found = config.get("max_position_embeddings", config.get("n_positions"))
    return int(found) if isinstance(found, int) and found > 0 else None
