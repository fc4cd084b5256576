"""Whisper: its encoder, over a spectrogram of one length (30 seconds), silence and all."""

from QEfficient.architectures.record import Architecture, Config, no_limit
from QEfficient.records import TensorSpec


def _spectrogram(config: Config) -> tuple[TensorSpec, ...]:
    bins = int(config.get("num_mel_bins", 80))
    length = 2 * int(config.get("max_source_positions", 1500))  # the second convolution halves it
    return (TensorSpec("input_features", "float32", ("batch_size", bins, length)),)


ARCHITECTURE = Architecture(model_type="whisper", limit=no_limit, inputs=_spectrogram, part="encoder")
