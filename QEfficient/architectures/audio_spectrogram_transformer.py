"""Audio Spectrogram Transformer: a spectrogram of one length, cut into patches as ViT cuts an image."""

from QEfficient.architectures.record import Architecture, Config, no_limit
from QEfficient.records import TensorSpec


def _spectrogram(config: Config) -> tuple[TensorSpec, ...]:
    size = (int(config.get("max_length", 1024)), int(config.get("num_mel_bins", 128)))
    return (TensorSpec("input_values", "float32", ("batch_size", *size)),)


ARCHITECTURE = Architecture(model_type="audio-spectrogram-transformer", limit=no_limit, inputs=_spectrogram)
