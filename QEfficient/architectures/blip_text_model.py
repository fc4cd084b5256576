"""The text half of BLIP, read in both directions."""

from QEfficient.architectures.record import Architecture, positions

ARCHITECTURE = Architecture(
    model_type="blip_text_model",
    limit=positions,
    default_pad_id=0,
    left_out={
        "is_decoder": "it reads in both directions",
        "encoder_embeds": "no encoder stands before it",
    },
)
