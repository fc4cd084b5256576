"""T5Gemma 2: the text side of its encoder is Gemma 3 with a mask that sees both sides."""

from QEfficient.architectures.record import Architecture, Config, rotary


def limit(config: Config) -> int:
    """The encoder's own config counts."""
    encoder = config.get("encoder") or {}
    return rotary(encoder.get("text_config") or {}, 131072)


ARCHITECTURE = Architecture(
    model_type="t5gemma2",
    limit=limit,
    default_pad_id=0,
    part="encoder",
    left_out={"pixel_values": "a program of it reads text alone"},
)
