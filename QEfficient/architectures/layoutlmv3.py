"""LayoutLMv3 without its image: positions as RoBERTa's, a box for every token; without boxes all are at (0, 0)."""

from functools import partial

from QEfficient.architectures.record import Architecture, boxes, positions_after_pad

ARCHITECTURE = Architecture(
    model_type="layoutlmv3",
    limit=positions_after_pad,
    default_pad_id=1,
    more=partial(boxes, ordered=False),  # transformers clips width and height to its table
    left_out={"pixel_values": "a program of it reads text and boxes, not the page's image"},
)
