"""The text half of MetaCLIP 2: as CLIP's."""

from dataclasses import replace

from QEfficient.architectures import clip_text_model

PROJECTIONS = {"MetaClip2TextModelWithProjection": ("text_embeds",)}
ARCHITECTURE = replace(clip_text_model.ARCHITECTURE, model_type="metaclip_2_text_model", projections=PROJECTIONS)
