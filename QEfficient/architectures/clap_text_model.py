"""The text half of CLAP: as RoBERTa, with 514 positions and one token type."""

from dataclasses import replace
from functools import partial

from QEfficient.architectures import bert, roberta
from QEfficient.architectures.record import positions_after_pad

SOURCE = "transformers.models.clap.modeling_clap.ClapTextSelfAttention"
ARCHITECTURE = replace(
    roberta.ARCHITECTURE,
    model_type="clap_text_model",
    limit=partial(positions_after_pad, default=514),
    default_types=1,
    blocks={SOURCE: bert.BLOCK},
    projections={"ClapTextModelWithProjection": ("text_embeds",)},
)
