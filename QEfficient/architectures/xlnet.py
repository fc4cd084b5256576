"""XLNet: relative positions, so no limit of its own; types are compared with one another and have no table."""

from QEfficient.architectures.record import Architecture, Config, no_limit
from QEfficient.records import TensorSpec


def texts(config: Config) -> tuple[TensorSpec, ...]:
    """Always with token types: its tokenizer gives the last token one of its own."""
    names = ("input_ids", "attention_mask", "token_type_ids")
    return tuple(TensorSpec(name, "int64", ("batch_size", "seq_len")) for name in names)


ARCHITECTURE = Architecture(model_type="xlnet", limit=no_limit, default_pad_id=5, mask="float", inputs=texts)
