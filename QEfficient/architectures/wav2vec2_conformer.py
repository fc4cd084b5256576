"""wav2vec 2.0 with Conformer layers: refused."""

from dataclasses import replace

from QEfficient.architectures import wav2vec2
from QEfficient.architectures.record import Config


def _positions(config: Config) -> str | None:
    return "transformers keeps its positions from one call to the next, and the export makes a constant of their length"


ARCHITECTURE = replace(wav2vec2.ARCHITECTURE, model_type="wav2vec2-conformer", refused=_positions)
