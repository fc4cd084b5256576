"""Reformer: refused, its hashes are drawn at random in each call."""

from functools import partial

from QEfficient.architectures.record import Architecture, Config, positions


def refused(config: Config) -> str | None:
    """LSH attention turns by a random rotation, unless ``hash_seed`` fixes it for tests."""
    return "its attention hashes with random numbers, so two calls of one text differ"


ARCHITECTURE = Architecture(
    model_type="reformer", limit=partial(positions, default=4096), default_pad_id=0, refused=refused
)
