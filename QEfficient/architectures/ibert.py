"""I-BERT: as RoBERTa, with blocks of its own."""

from QEfficient.architectures.record import Architecture, positions_after_pad

ARCHITECTURE = Architecture(model_type="ibert", limit=positions_after_pad, default_pad_id=1, default_types=2)
