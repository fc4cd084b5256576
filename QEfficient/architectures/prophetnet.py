"""ProphetNet: as BART; it computes with the mask, and so takes it as numbers."""

from dataclasses import replace
from functools import partial

from QEfficient.architectures import bart
from QEfficient.architectures.record import positions

ARCHITECTURE = replace(
    bart.ARCHITECTURE, model_type="prophetnet", limit=partial(positions, default=512), default_pad_id=0, mask="float"
)
