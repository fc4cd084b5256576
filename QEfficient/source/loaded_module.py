"""A model that is in memory: a module that the caller made or loaded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from QEfficient.errors import UsageError
from QEfficient.records import Json
from QEfficient.sentence_repo import SentenceRepo
from QEfficient.source.identity import config_of, is_native, module_identity, tensors
from QEfficient.source.module_kinds import unwrapped

if TYPE_CHECKING:
    from torch import nn


class LoadedModule:
    """A module that the caller made or loaded. It may change between two calls, so its tensors are always hashed.

    What ``torch.compile`` or torch's parallel wrappers made of a model counts as the model.
    """

    repo: SentenceRepo | None = None
    handed_out = True
    folder: Path | None = None
    tokenizer_keywords: Mapping[str, Json] = MappingProxyType({})
    training: Mapping[str, Json] | None = None

    def __init__(self, module: nn.Module) -> None:
        module = unwrapped(module)
        config = getattr(module, "config", None)
        if not hasattr(module, "forward") or not hasattr(config, "to_dict"):
            raise UsageError(
                "QEFFAutoModel wraps a loaded HuggingFace model.",
                got=f"{type(module).__module__}.{type(module).__qualname__}",
                allowed="a torch.nn.Module with a transformers config, such as what AutoModel.from_pretrained returns",
                do="load by name with QEFFAutoModel.from_pretrained(name), or hand in the model object",
            )
        if any(tensor.is_meta for _, tensor in tensors(module)):
            raise UsageError(
                "The module's weights are on the meta device: they have shapes, but no values.",
                got=f"{type(module).__qualname__} on meta",
                allowed="a module whose weights are loaded",
                do="load it without device_map and torch.device('meta'), or by name with QEFFAutoModel.from_pretrained",
            )
        self._module = module
        self.name: str = getattr(config, "_name_or_path", "") or type(module).__name__

    def config(self) -> dict[str, Json]:
        """The module's config as a mapping."""
        return config_of(self._module)

    def facts(self) -> dict[str, Json]:
        """The same: a module in memory has no processor."""
        return self.config()

    def module(self) -> nn.Module:
        """The caller's own module."""
        return self._module

    def class_name(self) -> str:
        """Name of the module's class."""
        return type(self._module).__name__

    def release(self) -> None:
        """Nothing: the caller holds the module."""

    def refuse_changed(self) -> None:
        """Nothing: there is no file."""

    def weight_files(self) -> tuple[Path, ...]:
        """None: what counts is in memory."""
        return ()

    def identity(self) -> dict[str, Json] | None:
        """As a checkpoint's; ``None`` for classes that are not transformers' own."""
        return module_identity(self._module) if is_native(self._module) else None
