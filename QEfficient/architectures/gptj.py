"""GPT-J: rotary positions from a table of ``n_positions``."""

from QEfficient.architectures.record import Architecture, Config


def limit(config: Config) -> int:
    """``n_positions``."""
    return int(config.get("n_positions", 2048))


ARCHITECTURE = Architecture(model_type="gptj", limit=limit, zero_types=False)
