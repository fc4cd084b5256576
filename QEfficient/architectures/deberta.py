"""DeBERTa: relative positions, and none but them unless the config says so."""

from QEfficient.architectures.record import Architecture, positions

ARCHITECTURE = Architecture(model_type="deberta", limit=positions, default_pad_id=0)
