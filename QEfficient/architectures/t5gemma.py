"""T5Gemma: its encoder is Gemma 2 with a mask that sees both sides."""

from QEfficient.architectures.record import Architecture, Config, rotary


def limit(config: Config) -> int:
    """The encoder's own config counts."""
    return rotary(config.get("encoder") or {}, 8192)


ARCHITECTURE = Architecture(model_type="t5gemma", limit=limit, default_pad_id=0, part="encoder")
