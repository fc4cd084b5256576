"""YOSO: an attention of hashes, here by its expectation; its mask leaks, in HuggingFace's model too."""

from functools import partial

from QEfficient.architectures.record import Architecture, Config, never_pads, positions


def refused(config: Config) -> str | None:
    """Hashing itself exists only as a CUDA kernel."""
    if config.get("use_expectation", True):
        return None
    return "use_expectation=False hashes in a CUDA kernel that a CPU does not have"


ARCHITECTURE = Architecture(
    model_type="yoso",
    limit=partial(positions, default=4096),
    default_pad_id=1,
    pads=never_pads,
    refused=refused,
)
