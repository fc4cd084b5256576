"""DINOv3's ConvNeXt: the states are the pooled map, then each place of the map."""

from dataclasses import replace

from QEfficient.architectures import vit

ARCHITECTURE = replace(vit.ARCHITECTURE, model_type="dinov3_convnext", inputs=vit.resized_pixels)
