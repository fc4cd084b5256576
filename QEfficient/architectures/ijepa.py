"""I-JEPA: as ViT, without a class token."""

from dataclasses import replace

from QEfficient.architectures import vit

ARCHITECTURE = replace(vit.ARCHITECTURE, model_type="ijepa")
