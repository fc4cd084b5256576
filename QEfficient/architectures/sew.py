"""SEW: as wav2vec 2.0, with squeezed frames: pairs of frames reach across a clip's end, so nothing may be padded."""

from dataclasses import replace

from QEfficient.architectures import data2vec_audio, wav2vec2
from QEfficient.architectures.record import Config

KERNELS, STRIDES = (10, 3, 1, 3, 1, 3, 1, 3, 1, 2, 1, 2, 1), (5, 2, 1, 2, 1, 2, 1, 2, 1, 2, 1, 2, 1)


def _frames(config: Config) -> tuple[tuple[int, int], ...]:
    return wav2vec2.frames(config, KERNELS, STRIDES)


ARCHITECTURE = replace(data2vec_audio.ARCHITECTURE, model_type="sew", frames=_frames)
