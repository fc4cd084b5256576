"""SigLIP: texts and images into one space. Both sides run in one graph, row beside row."""

from __future__ import annotations

from QEfficient.architectures import siglip_text_model, vit
from QEfficient.architectures.record import Architecture, Config, no_limit
from QEfficient.records import TensorSpec


def _pairs(config: Config) -> tuple[TensorSpec, ...]:
    texts = siglip_text_model.texts(config.get("text_config") or {})
    return texts + vit.pixels(config.get("vision_config") or {})


ARCHITECTURE = Architecture(model_type="siglip", limit=no_limit, inputs=_pairs, outputs=("text_embeds", "image_embeds"))
