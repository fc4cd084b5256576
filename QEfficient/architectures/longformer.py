"""Longformer: positions as RoBERTa's; a window of tokens around each, as a mask."""

from QEfficient.architectures.record import Architecture, positions_after_pad

MODELING = "transformers.models.longformer.modeling_longformer"
ROOM = "QEfficient.pytorch_transforms.longformer"
ARCHITECTURE = Architecture(
    model_type="longformer",
    limit=positions_after_pad,
    default_pad_id=1,
    default_types=2,
    blocks={
        f"{MODELING}.LongformerModel": f"{ROOM}.Model",
        f"{MODELING}.LongformerSelfAttention": f"{ROOM}.SelfAttention",
    },
)
