"""XLNet: relative positions, so no limit of its own; read without token types, as its tokenizer gives none."""

from QEfficient.architectures.record import Architecture, no_limit

ARCHITECTURE = Architecture(model_type="xlnet", limit=no_limit, default_pad_id=5, mask="float", zero_types=False)
