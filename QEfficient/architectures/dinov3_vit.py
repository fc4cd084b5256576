"""DINOv3: rotary positions, any image size."""

from dataclasses import replace

from QEfficient.architectures import vit

ARCHITECTURE = replace(vit.ARCHITECTURE, model_type="dinov3_vit", inputs=vit.resized_pixels)
