"""PEGASUS-X: its attention cuts a row into blocks."""

from dataclasses import replace
from functools import partial

from QEfficient.architectures import bart
from QEfficient.architectures.record import Config, positions


def refused(config: Config) -> str:
    """Whatever the config says."""
    return "the exporter makes a constant of the number of blocks that its attention cuts a row into"


ARCHITECTURE = replace(
    bart.ARCHITECTURE,
    model_type="pegasus_x",
    limit=partial(positions, default=16384),
    default_pad_id=0,
    refused=refused,
)
