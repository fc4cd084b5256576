"""ViT: images of the one size that its table of positions is made for."""

from __future__ import annotations

from QEfficient.architectures.record import Architecture, Config, no_limit
from QEfficient.records import TensorSpec

SIZE = 224
"""Height and width where neither config nor image processor says it, as in most configs of transformers."""


def pixels(config: Config) -> tuple[TensorSpec, ...]:
    """``pixel_values`` of the config's size: a number, or height and width."""
    return images(config, config.get("image_size", SIZE))


def resized_pixels(config: Config) -> tuple[TensorSpec, ...]:
    """``pixel_values`` of the size that the image processor makes, for a model that takes any size.

    A config may name the size of the first training, and the weights be meant for another (DINOv2: 518 and 224).
    """
    processor = config.get("processor", {})
    crop = processor.get("crop_size") if processor.get("do_center_crop", True) else None
    size = crop or processor.get("size") or config.get("image_size", SIZE)
    if isinstance(size, dict):
        size = [size.get("height", size.get("shortest_edge")), size.get("width", size.get("shortest_edge"))]
    return images(config, SIZE if size == [None, None] else size)


def images(config: Config, size: object) -> tuple[TensorSpec, ...]:
    """``pixel_values`` of a size, with the config's number of channels."""
    height, width = (int(side) for side in (size if isinstance(size, (list, tuple)) else (size, size)))
    channels = int(config.get("num_channels", 3))
    return (TensorSpec("pixel_values", "float32", ("batch_size", channels, height, width)),)


ARCHITECTURE = Architecture(model_type="vit", limit=no_limit, inputs=pixels)
