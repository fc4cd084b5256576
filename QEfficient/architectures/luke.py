"""LUKE on words alone: positions as RoBERTa's. Entities are no input."""

from QEfficient.architectures.record import Architecture, positions_after_pad

ARCHITECTURE = Architecture(model_type="luke", limit=positions_after_pad, default_pad_id=1, default_types=2)
