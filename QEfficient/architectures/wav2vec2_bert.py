"""wav2vec2-BERT: an encoder over the frames of a spectrogram of any length; pads, unless it has an adapter."""

from __future__ import annotations

from QEfficient.architectures.record import Architecture, Config
from QEfficient.records import TensorSpec

SECOND = 50
"""Frames of a second: two of 10 ms are stacked into one."""


def _frames(config: Config) -> tuple[tuple[int, int], ...]:
    """Kernel and stride of each convolution of an adapter; what it pads a clip with makes the kernel shorter."""
    if not config.get("add_adapter", False):
        return ((1, 1),)
    stride = int(config.get("adapter_stride", 2))
    kernel = int(config.get("adapter_kernel_size", 3)) - 2 * (stride // 2)
    return ((kernel, stride),) * int(config.get("num_adapter_layers", 1))


def _pads(config: Config) -> bool:
    """An adapter's convolutions reach past a clip's last frame."""
    return not config.get("add_adapter", False)


def _spectrogram(config: Config) -> tuple[TensorSpec, ...]:
    """``input_features``, and a mask where it hides the padding."""
    width = int(config.get("feature_projection_input_dim", 160))
    features = TensorSpec("input_features", "float32", ("batch_size", "seq_len", width))
    mask = TensorSpec("attention_mask", "int64", ("batch_size", "seq_len"))
    return (features, mask) if _pads(config) else (features,)


def _limit(config: Config) -> int | None:
    """Only ``"relative"`` positions stand in a table that a longer clip would make anew."""
    relative = config.get("position_embeddings_type", "relative_key") == "relative"
    return int(config.get("max_source_positions", 5000)) if relative else None


def _refused(config: Config) -> str | None:
    if config.get("position_embeddings_type", "relative_key") != "rotary":
        return None
    return "transformers keeps its rotary positions from one call to the next, and the export makes constants of them"


ARCHITECTURE = Architecture(
    model_type="wav2vec2-bert",
    limit=_limit,
    inputs=_spectrogram,
    pads=_pads,
    frames=_frames,
    lengths=(SECOND, 16 * SECOND),
    refused=_refused,
)
