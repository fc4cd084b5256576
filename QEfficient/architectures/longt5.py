"""LongT5: its attention cuts a row into blocks."""

from dataclasses import replace

from QEfficient.architectures import t5
from QEfficient.architectures.record import Config


def refused(config: Config) -> str:
    """Whatever the config says."""
    return "the exporter makes a constant of the number of blocks that its attention cuts a row into"


ARCHITECTURE = replace(t5.ARCHITECTURE, model_type="longt5", refused=refused)
