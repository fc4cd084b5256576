"""ConvNeXt: convolutions, any image size; the states are a map (channels, height, width)."""

from dataclasses import replace

from QEfficient.architectures import vit

ARCHITECTURE = replace(vit.ARCHITECTURE, model_type="convnext", inputs=vit.resized_pixels)
