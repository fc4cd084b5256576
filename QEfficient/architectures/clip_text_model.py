"""The text half of CLIP: 77 positions; a token sees those before it, and a row's end token is the vector."""

from functools import partial

from QEfficient.architectures.record import Architecture, positions

ARCHITECTURE = Architecture(
    model_type="clip_text_model",
    limit=partial(positions, default=77),
    default_pad_id=1,
    projections={"CLIPTextModelWithProjection": ("text_embeds",)},
    ends=True,
)
