"""BiT: as ResNet."""

from dataclasses import replace

from QEfficient.architectures import vit

ARCHITECTURE = replace(vit.ARCHITECTURE, model_type="bit", inputs=vit.resized_pixels)
