"""LED: BART's encoder with Longformer's attention; a window of tokens around each, as a mask."""

from dataclasses import replace
from functools import partial

from QEfficient.architectures import bart, longformer
from QEfficient.architectures.record import positions

ARCHITECTURE = replace(
    bart.ARCHITECTURE,
    model_type="led",
    limit=partial(positions, default=16384, key="max_encoder_position_embeddings"),
    left_out=longformer.LEFT_OUT,
    blocks={
        "led.LEDEncoder": "led.WindowedEncoder",
        "led.LEDEncoderSelfAttention": "longformer.WindowedSelfAttention",
    },
)
