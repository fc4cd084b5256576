"""SigLIP's text side: trained on rows that are all filled up to one width, and without a mask."""

from QEfficient.architectures.record import Architecture, Config, no_limit
from QEfficient.records import TensorSpec


def texts(config: Config) -> tuple[TensorSpec, ...]:
    """``input_ids`` of the one width: it attends to the padding, and pools the state of the last column."""
    width = int(config.get("max_position_embeddings", 64))
    return (TensorSpec("input_ids", "int64", ("batch_size", width)),)


ARCHITECTURE = Architecture(model_type="siglip_text_model", limit=no_limit, default_pad_id=1, inputs=texts)
