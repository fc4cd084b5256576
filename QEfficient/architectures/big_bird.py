"""BigBird: as BERT. Its sparse attention begins past a certain length, and up to there it attends to everything."""

from QEfficient.architectures.record import Architecture, Config, positions


def limit(config: Config) -> int:
    """Rows up to (5 + 2 × random blocks) × block size are read with full attention; see ``BigBirdModel.forward``."""
    most = positions(config, 4096)
    if config.get("attention_type", "block_sparse") != "block_sparse":
        return most
    blocks = 5 + 2 * int(config.get("num_random_blocks", 3))
    return min(most, blocks * int(config.get("block_size", 64)))


ARCHITECTURE = Architecture(model_type="big_bird", limit=limit, default_pad_id=0, default_types=2)
