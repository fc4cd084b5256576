"""MarkupLM on text alone: positions as RoBERTa's; without paths transformers takes the padding path."""

from functools import partial

from QEfficient.architectures.record import Architecture, positions_after_pad

ARCHITECTURE = Architecture(
    model_type="markuplm", limit=partial(positions_after_pad, default_pad_id=0), default_pad_id=0, default_types=2
)
