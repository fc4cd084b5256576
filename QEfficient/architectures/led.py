"""LED: Longformer's attention, which cuts a row into chunks."""

from dataclasses import replace

from QEfficient.architectures import bart
from QEfficient.architectures.record import Config


def limit(config: Config) -> int:
    """The encoder has a table of its own."""
    return int(config.get("max_encoder_position_embeddings", 16384))


def refused(config: Config) -> str:
    """Whatever the config says."""
    return "its attention cuts a row into chunks, and how long one is depends on the batch"


ARCHITECTURE = replace(bart.ARCHITECTURE, model_type="led", limit=limit, refused=refused)
