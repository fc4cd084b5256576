"""Megatron-BERT: as BERT, with the norm before each block."""

from QEfficient.architectures.record import Architecture, positions

ARCHITECTURE = Architecture(model_type="megatron-bert", limit=positions, default_pad_id=0, default_types=2)
