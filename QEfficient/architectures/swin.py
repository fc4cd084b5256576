"""Swin: windows over an image of any size."""

from dataclasses import replace

from QEfficient.architectures import vit

ARCHITECTURE = replace(vit.ARCHITECTURE, model_type="swin", inputs=vit.resized_pixels)
