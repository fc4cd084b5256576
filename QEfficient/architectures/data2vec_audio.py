"""data2vec for speech: as wav2vec 2.0, but its stacked positional convolutions carry padding into a clip's end."""

from dataclasses import replace

from QEfficient.architectures import wav2vec2
from QEfficient.architectures.record import Config, never_pads
from QEfficient.records import TensorSpec


def _clips(config: Config) -> tuple[TensorSpec, ...]:
    return wav2vec2.clips(config)[:1]


ARCHITECTURE = replace(wav2vec2.ARCHITECTURE, model_type="data2vec-audio", inputs=_clips, pads=never_pads)
