"""The text half of FLAVA: as BERT."""

from QEfficient.architectures.record import Architecture, positions

ARCHITECTURE = Architecture(model_type="flava_text_model", limit=positions, default_pad_id=0, default_types=2)
