"""TAPAS: seven types a token, its cell's column and row among them; positions start anew in every cell."""

from functools import partial

from QEfficient.architectures.record import Architecture, Config, positions
from QEfficient.records import TokenInput

SIZES = (3, 256, 256, 2, 256, 256, 10)


def types(config: Config) -> tuple[TokenInput, ...]:
    """Segment, column, row, the answer's mark, and three ranks."""
    sizes = tuple(int(size) for size in config.get("type_vocab_sizes") or SIZES)
    return (TokenInput("token_type_ids", (len(sizes),), below=sizes),)


ARCHITECTURE = Architecture(
    model_type="tapas",
    limit=partial(positions, default=1024),
    default_pad_id=0,
    blocks={"tapas.TapasEmbeddings": "tapas.Embeddings"},
    more=types,
    left_out={"table_mask": "it belongs to the loss and to the choice of cells"},
)
