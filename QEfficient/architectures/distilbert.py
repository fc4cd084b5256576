"""DistilBERT: absolute positions from 0, no token types."""

from QEfficient.architectures.record import Architecture, positions

ARCHITECTURE = Architecture(
    model_type="distilbert",
    limit=positions,
    default_pad_id=0,
    mask="additive",
    blocks={"distilbert.DistilBertSelfAttention": "bert.DistilSelfAttention"},
)
