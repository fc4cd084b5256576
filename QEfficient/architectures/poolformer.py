"""PoolFormer: pooling in place of attention, any image size; the states are a map."""

from dataclasses import replace

from QEfficient.architectures import vit

ARCHITECTURE = replace(vit.ARCHITECTURE, model_type="poolformer", inputs=vit.resized_pixels)
