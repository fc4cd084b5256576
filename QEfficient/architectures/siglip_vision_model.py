"""SigLIP's image side: as ViT; its pooled output is an attention over the patches."""

from dataclasses import replace

from QEfficient.architectures import vit

ARCHITECTURE = replace(vit.ARCHITECTURE, model_type="siglip_vision_model")
