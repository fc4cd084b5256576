"""BART: its encoder, with learned positions from 0; the table has two more."""

from functools import partial

from QEfficient.architectures.record import Architecture, positions

ARCHITECTURE = Architecture(model_type="bart", limit=partial(positions, default=1024), default_pad_id=1, part="encoder")
