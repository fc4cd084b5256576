"""DeBERTa-v2 and v3: relative positions in buckets; the limit is what it was trained for."""

from QEfficient.architectures.record import Architecture, positions

ARCHITECTURE = Architecture(model_type="deberta-v2", limit=positions, default_pad_id=0)
