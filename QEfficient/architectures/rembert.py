"""RemBERT: as BERT, with narrower embeddings."""

from QEfficient.architectures.record import Architecture, positions

ARCHITECTURE = Architecture(model_type="rembert", limit=positions, default_pad_id=0, default_types=2)
