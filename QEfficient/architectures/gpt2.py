"""GPT-2: a table of learned positions from 0; left padding moves a row's tokens to later ones, as in HuggingFace."""

from QEfficient.architectures.record import Architecture, Config


def limit(config: Config) -> int:
    """``n_positions``."""
    return int(config.get("n_positions", 1024))


ARCHITECTURE = Architecture(model_type="gpt2", limit=limit, zero_types=False)
