"""Blenderbot: as mBART."""

from dataclasses import replace
from functools import partial

from QEfficient.architectures import bart
from QEfficient.architectures.record import positions

ARCHITECTURE = replace(
    bart.ARCHITECTURE, model_type="blenderbot", limit=partial(positions, default=128), default_pad_id=0
)
