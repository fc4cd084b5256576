"""ESM: absolute positions are counted from pad id + 1; the rotary ones of ESM-2 from 0, without a table."""

from QEfficient.architectures.record import Architecture, Config, positions, positions_after_pad


def limit(config: Config) -> int:
    """ESM-2 has rotary positions: what it was trained for is the limit."""
    count = positions if config.get("position_embedding_type") == "rotary" else positions_after_pad
    return count(config, 1026)


ARCHITECTURE = Architecture(model_type="esm", limit=limit)
