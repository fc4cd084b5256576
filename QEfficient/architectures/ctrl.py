"""CTRL: a table of sines as positions."""

from QEfficient.architectures.record import Architecture, Config


def limit(config: Config) -> int:
    """``n_positions``."""
    return int(config.get("n_positions", 256))


ARCHITECTURE = Architecture(model_type="ctrl", limit=limit, zero_types=False)
