"""GPT-2: a table of learned positions from 0; left padding moves a row's tokens to later ones, as in HuggingFace."""

from functools import partial

from QEfficient.architectures.record import Architecture, positions

ARCHITECTURE = Architecture(
    model_type="gpt2", limit=partial(positions, default=1024, key="n_positions"), zero_types=False
)
