"""MobileBERT: as BERT, but each token's embedding takes in its neighbours', and so the padding's."""

from QEfficient.architectures.record import Architecture, never_pads, positions

ARCHITECTURE = Architecture(
    model_type="mobilebert", limit=positions, default_pad_id=0, default_types=2, pads=never_pads
)
