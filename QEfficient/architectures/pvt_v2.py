"""PVT v2: any image size; the states are a map."""

from dataclasses import replace

from QEfficient.architectures import vit

ARCHITECTURE = replace(vit.ARCHITECTURE, model_type="pvt_v2", inputs=vit.resized_pixels)
