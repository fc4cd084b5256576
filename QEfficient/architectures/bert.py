"""BERT: absolute positions from 0, two token types."""

from QEfficient.architectures.record import Architecture, positions

BLOCK = "QEfficient.pytorch_transforms.bert.SelfAttention"

ARCHITECTURE = Architecture(
    model_type="bert",
    limit=positions,
    default_pad_id=0,
    default_types=2,
    mask="additive",
    blocks={"transformers.models.bert.modeling_bert.BertSelfAttention": BLOCK},
)
