"""BERT: absolute positions from 0, two token types."""

from QEfficient.architectures.record import Architecture, positions

ARCHITECTURE = Architecture(
    model_type="bert",
    limit=positions,
    default_pad_id=0,
    mask="additive",
    blocks={"bert.BertSelfAttention": "bert.FoldedSelfAttention"},
)
