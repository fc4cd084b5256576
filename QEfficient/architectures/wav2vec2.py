"""wav2vec 2.0: convolutions over samples, an encoder over frames; pads with `feat_extract_norm="layer"`."""

from __future__ import annotations

from collections.abc import Sequence

from QEfficient.architectures.record import Architecture, Config, no_limit
from QEfficient.records import TensorSpec

KERNELS, STRIDES = (10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2)
SECOND = 16_000
"""Samples of a second: the rate that all of these models were trained with."""


def frames(
    config: Config, kernels: Sequence[int] = KERNELS, strides: Sequence[int] = STRIDES
) -> tuple[tuple[int, int], ...]:
    """Kernel and stride of each convolution, as ``_get_feat_extract_output_lengths`` of transformers counts them."""
    convolutions = zip(config.get("conv_kernel", kernels), config.get("conv_stride", strides), strict=True)
    adapter = ((1, int(config.get("adapter_stride", 2))),) * int(config.get("num_adapter_layers", 3))
    return tuple((int(kernel), int(stride)) for kernel, stride in convolutions) + (
        adapter if config.get("add_adapter", False) else ()
    )


def pads(config: Config) -> bool:
    """Whether a mask hides padding completely.

    ``feat_extract_norm="group"`` takes means over all samples, padding with them: transformers' own feature extractor
    makes no mask for such a model. An adapter's convolutions reach past a clip's last frame.
    """
    return config.get("feat_extract_norm", "group") == "layer" and not config.get("add_adapter", False)


def clips(config: Config) -> tuple[TensorSpec, ...]:
    """``input_values``, and a mask where it hides the padding."""
    values = TensorSpec("input_values", "float32", ("batch_size", "seq_len"))
    mask = TensorSpec("attention_mask", "int64", ("batch_size", "seq_len"))
    return (values, mask) if pads(config) else (values,)


ARCHITECTURE = Architecture(
    model_type="wav2vec2", limit=no_limit, inputs=clips, pads=pads, frames=frames, lengths=(SECOND, 16 * SECOND)
)
