"""DPR: BERT, whose vector is that of the first token: pooling="pooler_output"."""

from QEfficient.architectures.record import Architecture, positions

ARCHITECTURE = Architecture(model_type="dpr", limit=positions, default_pad_id=0, default_types=2)
