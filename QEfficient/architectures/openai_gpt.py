"""The first GPT: a table of learned positions from 0."""

from QEfficient.architectures.record import Architecture, Config


def limit(config: Config) -> int:
    """``n_positions``."""
    return int(config.get("n_positions", 512))


ARCHITECTURE = Architecture(model_type="openai-gpt", limit=limit, zero_types=False)
