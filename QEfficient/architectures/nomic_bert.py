"""Nomic's BERT: rotary positions, two token types."""

from QEfficient.architectures.record import Architecture, rotary

ARCHITECTURE = Architecture(model_type="nomic_bert", limit=rotary, default_pad_id=0, default_types=2)
