"""The text half of CLIPSeg: as CLIP's."""

from functools import partial

from QEfficient.architectures.record import Architecture, positions

ARCHITECTURE = Architecture(model_type="clipseg_text_model", limit=partial(positions, default=77), default_pad_id=1)
