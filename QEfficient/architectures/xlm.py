"""XLM. No language is given, as transformers has it when it is called without langs."""

from QEfficient.architectures.record import Architecture, positions

ARCHITECTURE = Architecture(model_type="xlm", limit=positions, default_pad_id=2, zero_types=False)
