"""LED: BART's encoder with Longformer's attention; a window of tokens around each, as a mask."""

from dataclasses import replace

from QEfficient.architectures import bart, longformer
from QEfficient.architectures.record import Config


def limit(config: Config) -> int:
    """The encoder has a table of its own."""
    return int(config.get("max_encoder_position_embeddings", 16384))


MODELING = "transformers.models.led.modeling_led"
ROOM = "QEfficient.pytorch_transforms"
ARCHITECTURE = replace(
    bart.ARCHITECTURE,
    model_type="led",
    limit=limit,
    left_out=longformer.LEFT_OUT,
    blocks={
        f"{MODELING}.LEDEncoder": f"{ROOM}.led.Encoder",
        f"{MODELING}.LEDEncoderSelfAttention": f"{ROOM}.longformer.SelfAttention",
    },
)
