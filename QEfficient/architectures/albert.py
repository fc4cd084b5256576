"""ALBERT: as BERT, with one layer that is used several times."""

from QEfficient.architectures.record import Architecture, positions

ARCHITECTURE = Architecture(model_type="albert", limit=positions, default_pad_id=0, default_types=2)
