"""X-CLIP's image side: refused."""

from dataclasses import replace

from QEfficient.architectures import vit
from QEfficient.architectures.record import Config


def _frames(config: Config) -> str | None:
    return "the rows of a batch are frames of one video, and a frame's numbers depend on the others"


ARCHITECTURE = replace(vit.ARCHITECTURE, model_type="xclip_vision_model", refused=_frames)
