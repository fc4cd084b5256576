"""MPNet: positions counted from 2 whatever the config's pad id, relative positions as a bias, no token types."""

from QEfficient.architectures.record import Architecture, Config, positions


def limit(config: Config) -> int:
    """``MPNetEmbeddings`` has padding_idx = 1 written into its code."""
    return positions(config) - 2


ARCHITECTURE = Architecture(
    model_type="mpnet",
    limit=limit,
    default_pad_id=1,
    mask="additive",
    blocks={"mpnet.MPNetSelfAttention": "bert.MPNetSelfAttention"},
)
