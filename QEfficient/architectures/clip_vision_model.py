"""CLIP's image side: as ViT."""

from dataclasses import replace

from QEfficient.architectures import vit

PROJECTIONS = {"CLIPVisionModelWithProjection": ("image_embeds",)}
ARCHITECTURE = replace(vit.ARCHITECTURE, model_type="clip_vision_model", projections=PROJECTIONS)
