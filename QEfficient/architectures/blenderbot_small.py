"""Blenderbot Small: as BART."""

from dataclasses import replace
from functools import partial

from QEfficient.architectures import bart
from QEfficient.architectures.record import positions

ARCHITECTURE = replace(
    bart.ARCHITECTURE, model_type="blenderbot-small", limit=partial(positions, default=512), default_pad_id=0
)
