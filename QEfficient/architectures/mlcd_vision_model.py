"""MLCD: as ViT, with rotary positions."""

from dataclasses import replace

from QEfficient.architectures import vit

ARCHITECTURE = replace(vit.ARCHITECTURE, model_type="mlcd_vision_model")
