"""XLNet: relative positions, so no limit of its own; read without token types, as its tokenizer gives none."""

from QEfficient.architectures.record import Architecture, no_limit

LEFT_OUT = {
    "input_mask": "it is attention_mask with 0 and 1 the other way round; pass that one",
    **dict.fromkeys(("perm_mask", "target_mapping"), "a program attends from every token to every other"),
    **dict.fromkeys(("mems", "use_mems"), "a program keeps nothing between two calls"),
}
ARCHITECTURE = Architecture(
    model_type="xlnet", limit=no_limit, default_pad_id=5, mask="float", zero_types=False, left_out=LEFT_OUT
)
