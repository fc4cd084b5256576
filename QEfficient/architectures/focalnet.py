"""FocalNet: convolutions, any image size."""

from dataclasses import replace

from QEfficient.architectures import vit

ARCHITECTURE = replace(vit.ARCHITECTURE, model_type="focalnet", inputs=vit.resized_pixels)
