"""WavLM: as wav2vec 2.0, with relative positions."""

from dataclasses import replace

from QEfficient.architectures import wav2vec2

ARCHITECTURE = replace(wav2vec2.ARCHITECTURE, model_type="wavlm")
