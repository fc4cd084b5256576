"""RegNet: as ResNet."""

from dataclasses import replace

from QEfficient.architectures import vit

ARCHITECTURE = replace(vit.ARCHITECTURE, model_type="regnet", inputs=vit.resized_pixels)
