"""XLM-RoBERTa-XL: as RoBERTa, with 514 positions and one token type."""

from dataclasses import replace
from functools import partial

from QEfficient.architectures import bert, roberta
from QEfficient.architectures.record import positions_after_pad

SOURCE = "transformers.models.xlm_roberta_xl.modeling_xlm_roberta_xl.XLMRobertaXLSelfAttention"
ARCHITECTURE = replace(
    roberta.ARCHITECTURE,
    model_type="xlm-roberta-xl",
    limit=partial(positions_after_pad, default=514),
    default_types=1,
    blocks={SOURCE: bert.BLOCK},
)
