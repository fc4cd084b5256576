"""What of a model tells it from every other one: for the key of the cache."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from QEfficient.cache import json_like
from QEfficient.export.isolated import isolated
from QEfficient.records import Json

if TYPE_CHECKING:
    import torch
    from torch import nn


@isolated
def module_identity(module: nn.Module) -> dict[str, Json]:
    """Config, structure and tensors of a module that is in memory.

    The structure holds every submodule's class and its plain attributes (``scaling``, ``eps``), because they
    change a result without changing a tensor.
    """
    structure = hashlib.sha256()
    for name, part in module.named_modules():
        plain = {
            k: v for k, v in vars(part).items() if isinstance(v, (int, float, str, bool, tuple)) and k != "training"
        }
        structure.update(
            f"{name}:{type(part).__module__}.{type(part).__qualname__}:{sorted(plain.items())!r}\n".encode()
        )
    config = {k: v for k, v in config_of(module).items() if json_like(v)}
    return {
        "class": f"{type(module).__module__}.{type(module).__qualname__}",
        "config": config,
        "structure": structure.hexdigest(),
        "tensors": tensors_digest(module),
    }


def tensors_digest(module: nn.Module) -> str:
    """SHA-256 of every parameter and buffer, with its path, type and shape, as hex."""
    held = hashlib.sha256()
    for name, tensor in tensors(module):
        held.update(f"{name}:{tensor.dtype}:{tuple(tensor.shape)}\n".encode())
        held.update(_bytes_view(tensor))
    return held.hexdigest()


def config_of(module: nn.Module) -> dict[str, Json]:
    """A module's transformers config as a mapping."""
    config: Any = module.config  # a transformers config; nn.Module does not know it
    return dict(config.to_dict())


def tensors(module: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """Every parameter and buffer by its path; one that has two paths comes twice."""
    yield from module.named_parameters(remove_duplicate=False)
    yield from module.named_buffers(remove_duplicate=False)


def _bytes_view(tensor: torch.Tensor) -> memoryview:
    import torch

    flat = tensor.detach().to("cpu").contiguous().reshape(-1)
    view: memoryview = flat.view(torch.uint8).numpy().data
    return view


def is_native(module: nn.Module) -> bool:
    """Whether every part is torch's or transformers' own class, unhooked and unpatched.

    Then config, structure and tensors determine the graph.
    """
    from QEfficient.pytorch_transforms.blocks import is_patched  # torch; the module is loaded already

    return not any(
        type(part).__module__.partition(".")[0] not in ("torch", "transformers") or is_patched(part)
        for part in module.modules()
    )
