"""A few random rows, on which a cut module and its original with zeros have to agree."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn

TOLERANCE = 1e-3
"""Most that a value may differ, as a share of the largest of its tensor: above what another order of float32 sums
gives in models with large random weights (1e-4), and below what one head too few gives."""

_TOKENS = 8
_SAMPLES = 8000
_FRAMES = 40
"""Lengths of the rows: of texts, of raw sound (half a second at 16 kHz), of sound that was made into frames."""


def fault_of(module: nn.Module, cut: nn.Module, kept: Mapping[str, Sequence[int]]) -> str | None:
    """What a cut module does otherwise than its original in which zeros stand in the place of what was cut.

    Both run on the same rows, with all tokens and with some masked, in eval mode and float32.

    Args:
        module: The original; it stays as it is.
        cut: The cut copy.
        kept: ``output`` of each group that was cut → the units that it kept.

    Returns:
        The difference, or the error that a forward raised; ``None`` where the two agree.
    """
    import torch

    from QEfficient.pytorch_transforms.blocks import exportable
    from QEfficient.pytorch_transforms.units import units_of

    original, smaller = (exportable(one)[0] for one in (module, cut))  # they share the weights
    for group in units_of(original):
        if group.output in kept:
            mask = torch.zeros(group.units, group.width)
            mask[list(kept[group.output])] = 1.0
            original.get_submodule(group.output).register_forward_pre_hook(_masked(mask.flatten()))
    try:
        for rows in _rows(original):
            fault = _apart(_run(original, rows), _run(smaller, rows))
            if fault is not None:
                return fault
    except Exception as error:  # whatever a forward raises that counts on a shape, or that takes other inputs
        return f"{type(error).__name__}: {error}"
    return None


def _masked(mask: Tensor) -> Any:
    def hook(part: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (inputs[0] * mask, *inputs[1:])

    return hook


def _run(module: nn.Module, rows: Mapping[str, Any]) -> list[Tensor]:
    """The tensors of floats that the encoder gives."""
    import torch

    with torch.inference_mode(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # some draw what they hide
        output: Any = _encoder(module)(**rows)
    values = output.to_tuple() if hasattr(output, "to_tuple") else output
    return [one for one in values if isinstance(one, torch.Tensor) and one.is_floating_point()]


def _encoder(module: Any) -> Any:
    """The part below a head of a text model, which may want more inputs than the encoder does."""
    return module.base_model if _main_input(module) == "input_ids" else module


def _main_input(module: Any) -> str:
    return str(getattr(module, "main_input_name", "input_ids"))


def _apart(wanted: Sequence[Tensor], found: Sequence[Tensor]) -> str | None:
    for one, other in zip(wanted, found, strict=True):
        if one.shape != other.shape:
            return f"a state has the shape {tuple(other.shape)}, not {tuple(one.shape)}"
        largest, apart = float(one.abs().max()), float((one - other).abs().max())
        if not math.isfinite(largest):
            return "the model gives NaN or Inf as it is: its weights are broken"
        if not apart <= TOLERANCE * largest:
            return f"a state differs by {apart:.3g}, where the largest is {largest:.3g}"
    return None


def _rows(module: Any) -> Iterator[dict[str, Any]]:
    """Two rows for a module, the second with a mask where it takes one."""
    import torch

    generator = torch.Generator().manual_seed(0)
    config, name = module.config, _main_input(module)
    takes = inspect.signature(_encoder(module).forward).parameters
    words = int(getattr(getattr(config, "text_config", config), "vocab_size", None) or 256)
    rows: dict[str, Any] = {}
    if name == "input_ids":
        rows[name] = torch.randint(0, words, (1, _TOKENS), generator=generator)
    if name != "input_ids" or ("pixel_values" in takes and hasattr(config, "vision_config")):
        other = "pixel_values" if name == "input_ids" else name
        rows[other] = torch.randn(_shape(other, config), generator=generator)
    if "decoder_input_ids" in takes:
        rows["decoder_input_ids"] = torch.randint(0, words, (1, 4), generator=generator)
    yield dict(rows)
    if "attention_mask" in takes and (rows[name].dim() == 2 or hasattr(config, "feature_projection_input_dim")):
        mask = torch.ones(rows[name].shape[:2], dtype=torch.int64)
        mask[:, -(mask.shape[1] // 4) :] = 0
        yield rows | {"attention_mask": mask}


def _shape(name: str, config: Any) -> tuple[int, ...]:
    """Of images, raw sound, or sound in frames, as the config says them."""
    if name == "pixel_values":
        own = getattr(config, "vision_config", config)
        size = getattr(own, "image_size", 224)
        sides = tuple(size) if isinstance(size, (list, tuple)) else (size, size)
        return (1, int(getattr(own, "num_channels", 3)), *sides)
    bins = getattr(config, "num_mel_bins", None)
    if name == "input_values":
        return (1, int(config.max_length), int(bins)) if bins else (1, _SAMPLES)
    if hasattr(config, "feature_projection_input_dim"):
        return (1, _FRAMES, int(config.feature_projection_input_dim))
    return (1, int(config.num_mel_bins), 2 * int(config.max_source_positions))
