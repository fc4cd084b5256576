"""BioGPT: learned positions from 0; the table has two more, as OPT's."""

from functools import partial

from QEfficient.architectures.record import Architecture, positions

ARCHITECTURE = Architecture(model_type="biogpt", limit=partial(positions, default=1024), default_pad_id=1)
