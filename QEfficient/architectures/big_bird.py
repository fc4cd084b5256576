"""BigBird: as BERT. Its sparse attention begins past a certain length, and longer rows are refused."""

from QEfficient.architectures.record import Architecture, Config, positions


def whole(config: Config) -> int:
    """Its table of positions."""
    return positions(config, 4096)


def limit(config: Config) -> int:
    """Rows up to (5 + 2 × random blocks) × block size are read with full attention; see ``BigBirdModel.forward``."""
    most = whole(config)
    if config.get("attention_type", "block_sparse") != "block_sparse":
        return most
    blocks = 5 + 2 * int(config.get("num_random_blocks", 3))
    return min(most, blocks * int(config.get("block_size", 64)))


ARCHITECTURE = Architecture(
    model_type="big_bird",
    limit=limit,
    whole=whole,
    default_pad_id=0,
    left_out={"question_lengths": "a question ends with its first separator"},
)
