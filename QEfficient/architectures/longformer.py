"""Longformer: positions as RoBERTa's; a window of tokens around each, as a mask."""

from QEfficient.architectures.record import Architecture, positions_after_pad

LEFT_OUT = {"global_attention_mask": "a program has the windows, and of far tokens only those that a head asks for"}
ARCHITECTURE = Architecture(
    model_type="longformer",
    limit=positions_after_pad,
    default_pad_id=1,
    left_out=LEFT_OUT,
    blocks={
        "longformer.LongformerModel": "longformer.WindowedModel",
        "longformer.LongformerSelfAttention": "longformer.WindowedSelfAttention",
    },
)
