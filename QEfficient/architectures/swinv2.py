"""Swin V2: as Swin."""

from dataclasses import replace

from QEfficient.architectures import vit

ARCHITECTURE = replace(vit.ARCHITECTURE, model_type="swinv2", inputs=vit.resized_pixels)
