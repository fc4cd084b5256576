"""PEGASUS-X: its attention cuts a row into blocks."""

from dataclasses import replace
from functools import partial

from QEfficient.architectures import bart, longt5
from QEfficient.architectures.record import positions

ARCHITECTURE = replace(
    bart.ARCHITECTURE,
    model_type="pegasus_x",
    limit=partial(positions, default=16384),
    default_pad_id=0,
    refused=longt5.refused,
)
