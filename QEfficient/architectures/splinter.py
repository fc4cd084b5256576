"""Splinter: as BERT."""

from dataclasses import replace

from QEfficient.architectures import bert

SOURCE = "transformers.models.splinter.modeling_splinter.SplinterSelfAttention"
ARCHITECTURE = replace(
    bert.ARCHITECTURE,
    model_type="splinter",
    blocks={SOURCE: bert.BLOCK},
    left_out={"question_positions": "questions have a number of their own, and it answers the first one"},
)
