"""XLM. No language is given, as transformers has it when it is called without langs."""

from QEfficient.architectures.record import Architecture, positions

LEFT_OUT = {
    "langs": "without them it adds no language at all, and no number stands for that",
    "lengths": "attention_mask says where a row ends",
}
ARCHITECTURE = Architecture(model_type="xlm", limit=positions, default_pad_id=2, zero_types=False, left_out=LEFT_OUT)
