"""GPT-Neo: learned positions from 0, windows in every other layer, logits that are not scaled."""

from functools import partial

from QEfficient.architectures.record import Architecture, positions

ARCHITECTURE = Architecture(model_type="gpt_neo", limit=partial(positions, default=2048), zero_types=False)
