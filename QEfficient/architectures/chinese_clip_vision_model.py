"""Chinese CLIP's image side: as ViT."""

from dataclasses import replace

from QEfficient.architectures import vit

ARCHITECTURE = replace(vit.ARCHITECTURE, model_type="chinese_clip_vision_model")
