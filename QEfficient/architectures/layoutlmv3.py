"""LayoutLMv3 on text alone: positions as RoBERTa's; no image, and every box at (0, 0) as transformers has it."""

from QEfficient.architectures.record import Architecture, positions_after_pad

ARCHITECTURE = Architecture(model_type="layoutlmv3", limit=positions_after_pad, default_pad_id=1, default_types=2)
