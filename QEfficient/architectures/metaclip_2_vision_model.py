"""MetaCLIP 2's image side: as ViT."""

from dataclasses import replace

from QEfficient.architectures import vit

PROJECTIONS = {"MetaClip2VisionModelWithProjection": ("image_embeds",)}
ARCHITECTURE = replace(vit.ARCHITECTURE, model_type="metaclip_2_vision_model", projections=PROJECTIONS)
