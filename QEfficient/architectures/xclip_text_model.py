"""The text half of X-CLIP: as CLIP's; it takes a row's largest id for its end."""

from dataclasses import replace

from QEfficient.architectures import clip_text_model

ARCHITECTURE = replace(clip_text_model.ARCHITECTURE, model_type="xclip_text_model", projections={})
