"""The text half of MetaCLIP 2: as CLIP's."""

from functools import partial

from QEfficient.architectures.record import Architecture, positions

ARCHITECTURE = Architecture(model_type="metaclip_2_text_model", limit=partial(positions, default=77), default_pad_id=1)
