"""What speech models of transformers do to their masks, in a form that a device with fixed shapes takes.

transformers counts a clip's frames with a division that the exporter does in floats (in fp16, 65504 samples are the
most), marks the last frame, and adds marks up from the end. Then it writes zeros where the mask is false, which an
exported graph does by listing the places: a shape that depends on values.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

FRAME_MASK = "_get_feature_vector_attention_mask"
"""transformers' method that makes the mask of a clip's frames from that of its samples."""


def replace_frame_masks(model: nn.Module, frames: Sequence[tuple[int, int]]) -> None:
    """Gives every part that makes a mask of frames another way to make the same mask, in place.

    Args:
        model: A copy that is to be exported; its type has no say, only whether a part has the method.
        frames: Kernel and stride of each convolution between samples and frames.
    """
    for part in model.modules():
        if frames and hasattr(part, FRAME_MASK):
            setattr(part, FRAME_MASK, _frame_mask(frames))


def _frame_mask(frames: Sequence[tuple[int, int]]) -> Callable[..., Tensor]:
    """A frame is real when the last sample that it sees is real: then all of them are, as padding is at the end."""
    seen, step = 1, 1
    for kernel, stride in reversed(frames):
        seen = (seen - 1) * stride + kernel
        step *= stride

    def mask_of(count: int, attention_mask: Tensor, add_adapter: bool | None = None) -> Tensor:
        return attention_mask[:, seen - 1 :: step][:, :count].bool()

    return mask_of


class MaskedWrites(TorchFunctionMode):
    """While it is entered, ``states[mask] = number`` with a mask of bools becomes a choice between the two."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Called by torch in place of each of its functions."""
        if func is Tensor.__setitem__ and _is_mask(args[1]) and not isinstance(args[2], Tensor):
            states, mask, number = args
            mask = mask.reshape(*mask.shape, *(1,) * (states.ndim - mask.ndim))
            states.copy_(torch.where(mask, number, states))
            return None
        return func(*args, **(kwargs or {}))


def _is_mask(index: object) -> bool:
    return isinstance(index, Tensor) and index.dtype == torch.bool
