"""FlauBERT: as XLM, without languages."""

from QEfficient.architectures.record import Architecture, positions
from QEfficient.architectures.xlm import LEFT_OUT

ARCHITECTURE = Architecture(
    model_type="flaubert", limit=positions, default_pad_id=2, zero_types=False, left_out=LEFT_OUT
)
