"""DINOv2: any image size, as it stretches its table of positions."""

from dataclasses import replace

from QEfficient.architectures import vit

ARCHITECTURE = replace(vit.ARCHITECTURE, model_type="dinov2", inputs=vit.resized_pixels)
