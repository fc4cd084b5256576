"""OPT: learned positions counted by the mask, so padding on either side changes nothing; the table has two more."""

from functools import partial

from QEfficient.architectures.record import Architecture, positions

ARCHITECTURE = Architecture(model_type="opt", limit=partial(positions, default=2048), default_pad_id=1)
