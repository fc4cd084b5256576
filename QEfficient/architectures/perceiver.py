"""Perceiver: refused, the bare model has no text side."""

from functools import partial

from QEfficient.architectures.record import Architecture, Config, positions


def refused(config: Config) -> str:
    """``AutoModel`` makes a ``PerceiverModel`` without a preprocessor, which takes states and not ids."""
    return "the bare model takes states, not text; its text side belongs to its task models"


ARCHITECTURE = Architecture(model_type="perceiver", limit=partial(positions, default=2048), refused=refused)
