"""Nyströmformer: a convolution over the values sees the padding behind a row."""

from functools import partial

from QEfficient.architectures.record import Architecture, Config, never_pads, positions


def refused(config: Config) -> str | None:
    """With landmarks HuggingFace's code takes rows of one length only; without, it attends as BERT does."""
    landmarks, segment = config.get("num_landmarks", 64), config.get("segment_means_seq_len", 64)
    if landmarks == segment:
        return None
    return (
        f"with num_landmarks={landmarks} and segment_means_seq_len={segment} it takes rows of exactly {segment} tokens"
    )


ARCHITECTURE = Architecture(
    model_type="nystromformer",
    limit=partial(positions, default=510),
    default_pad_id=1,
    pads=never_pads,
    refused=refused,
)
