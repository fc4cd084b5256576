"""ConvBERT: as BERT, but convolutions along the row see the padding behind it."""

from QEfficient.architectures.record import Architecture, never_pads, positions

ARCHITECTURE = Architecture(model_type="convbert", limit=positions, default_pad_id=1, default_types=2, pads=never_pads)
