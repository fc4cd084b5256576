"""LUKE on words alone: positions as RoBERTa's; entities, which have a length of their own, are no input yet."""

from QEfficient.architectures.record import Architecture, positions_after_pad

WHY = "entities have a length of their own, which a program can't hold yet"
ENTITIES = ("entity_ids", "entity_attention_mask", "entity_token_type_ids", "entity_position_ids", "entity_labels")

ARCHITECTURE = Architecture(
    model_type="luke",
    limit=positions_after_pad,
    default_pad_id=1,
    left_out=dict.fromkeys(ENTITIES, WHY),
)
