"""ViT-MAE: refused, since its encoder sees a random part of the image only."""

from dataclasses import replace

from QEfficient.architectures import vit
from QEfficient.architectures.record import Config


def _random(config: Config) -> str | None:
    return "its encoder leaves out patches at random, so the same image never gives the same numbers"


ARCHITECTURE = replace(vit.ARCHITECTURE, model_type="vit_mae", refused=_random)
