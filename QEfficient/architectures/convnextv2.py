"""ConvNeXt V2: as ConvNeXt."""

from dataclasses import replace

from QEfficient.architectures import vit

ARCHITECTURE = replace(vit.ARCHITECTURE, model_type="convnextv2", inputs=vit.resized_pixels)
