"""SegFormer's encoder: any image size; the states are a map."""

from dataclasses import replace

from QEfficient.architectures import vit

ARCHITECTURE = replace(vit.ARCHITECTURE, model_type="segformer", inputs=vit.resized_pixels)
