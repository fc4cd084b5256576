"""Names of inputs that a graph does not have: what an error says of each. No advice may lead to other numbers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from QEfficient.errors import InputError, nearest
from QEfficient.records import RowRules

OF_TRANSFORMERS = {
    "position_ids": "positions are counted inside it, as HuggingFace's model counts them when it is given none",
    **dict.fromkeys(
        ("labels", "start_positions", "end_positions", "next_sentence_label", "sentence_order_label", "return_loss"),
        "they are for a loss, which no graph computes",
    ),
    **dict.fromkeys(("inputs_embeds", "decoder_inputs_embeds"), "it looks the ids up itself"),
    **dict.fromkeys(("output_attentions", "output_hidden_states"), "it has the outputs of its task only"),
    **dict.fromkeys(("head_mask", "decoder_head_mask", "cross_attn_head_mask"), "it has all heads"),
    **dict.fromkeys(
        ("cache", "past_key_values", "use_cache", "cache_position", "logits_to_keep"), "it keeps nothing of other calls"
    ),
    **dict.fromkeys(
        ("encoder_hidden_states", "encoder_attention_mask", "encoder_outputs"), "no encoder stands before it"
    ),
    **dict.fromkeys(
        ("decoder_input_ids", "decoder_attention_mask", "decoder_position_ids"),
        "of a model with a decoder it has the rest",
    ),
}
"""What models of transformers take whatever their type, and no graph does → why."""


def refuse_unknown(given: Iterable[str], known: Sequence[str], rules: RowRules) -> None:
    """Refuses names that are no input of the graph.

    Args:
        given: The caller's names.
        known: The graph's.
        rules: What else HuggingFace's model takes.

    Raises:
        InputError: There is one; says whether HuggingFace's model has it.
    """
    reasons = {**OF_TRANSFORMERS, **rules.left_out}
    for name in given:
        if name in reasons and name not in known:
            raise InputError(
                f"The graph was exported without {name}" + (f": {reasons[name]}." if reasons[name] else "."),
                got=name,
                allowed=", ".join(known),
                do=f"run it with transformers where {name} matters; the graph gives what the model gives without it",
            )
        if name not in known:
            near = nearest(name, known)
            raise InputError(
                f"The graph has no input {name!r}.{near}",
                got=name,
                allowed=", ".join(known),
                do=f"{'write it so; ' if near else ''}if the model itself takes {name}, run it with transformers: "
                "the graph was exported without it",
            )
