"""The text half of CLIPSeg: as CLIP's."""

from dataclasses import replace

from QEfficient.architectures import clip_text_model

ARCHITECTURE = replace(clip_text_model.ARCHITECTURE, model_type="clipseg_text_model", projections={})
