"""DINOv2 with registers: as DINOv2."""

from dataclasses import replace

from QEfficient.architectures import vit

ARCHITECTURE = replace(vit.ARCHITECTURE, model_type="dinov2_with_registers", inputs=vit.resized_pixels)
