"""CLIP: texts and images into one space. Both sides run in one graph, row beside row."""

from __future__ import annotations

from QEfficient.architectures import vit
from QEfficient.architectures.record import Architecture, Config, positions
from QEfficient.records import TensorSpec


def _limit(config: Config) -> int:
    return positions(config.get("text_config") or {}, 77)


def _pairs(config: Config) -> tuple[TensorSpec, ...]:
    texts = tuple(TensorSpec(name, "int64", ("batch_size", "seq_len")) for name in ("input_ids", "attention_mask"))
    return texts + vit.pixels(config.get("vision_config") or {})


ARCHITECTURE = Architecture(
    model_type="clip", limit=_limit, inputs=_pairs, outputs=("text_embeds", "image_embeds"), ends=True
)
