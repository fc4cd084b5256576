"""CLIPSeg's image side: as ViT."""

from dataclasses import replace

from QEfficient.architectures import vit

ARCHITECTURE = replace(vit.ARCHITECTURE, model_type="clipseg_vision_model")
