"""UniSpeech-SAT: as wav2vec 2.0."""

from dataclasses import replace

from QEfficient.architectures import wav2vec2

ARCHITECTURE = replace(wav2vec2.ARCHITECTURE, model_type="unispeech-sat")
