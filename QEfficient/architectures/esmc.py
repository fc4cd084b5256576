"""ESM C: rotary positions."""

from QEfficient.architectures.record import Architecture, rotary

ARCHITECTURE = Architecture(
    model_type="esmc",
    limit=rotary,
    default_pad_id=1,
    left_out={"sequence_id": "a row of a program holds one sequence; pass the others as rows of their own"},
)
