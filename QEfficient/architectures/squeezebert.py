"""SqueezeBERT: as BERT, with grouped convolutions of width 1 for its linear layers."""

from QEfficient.architectures.record import Architecture, positions

ARCHITECTURE = Architecture(model_type="squeezebert", limit=positions, default_pad_id=0, default_types=2)
