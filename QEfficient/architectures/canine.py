"""CANINE: refused, a graph of it has one length."""

from functools import partial

from QEfficient.architectures.record import Architecture, Config, positions


def refused(config: Config) -> str:
    """See the loops of ``CanineAttention.forward``."""
    return "it attends in chunks that a Python loop cuts, so that a graph could only take rows of one length"


ARCHITECTURE = Architecture(
    model_type="canine", limit=partial(positions, default=16384), default_pad_id=0, default_types=16, refused=refused
)
