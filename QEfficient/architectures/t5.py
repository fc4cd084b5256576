"""T5: its encoder, which has relative positions and so no limit of its own."""

from QEfficient.architectures.record import Architecture, no_limit

ARCHITECTURE = Architecture(model_type="t5", limit=no_limit, default_pad_id=0, mask="additive", part="encoder")
