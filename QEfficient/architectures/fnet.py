"""FNet: a Fourier transform along the row in place of attention, so it has no mask and sees the padding."""

from QEfficient.architectures.record import Architecture, Config, never_pads, positions
from QEfficient.architectures.table import unless
from QEfficient.records import TensorSpec


def texts(config: Config) -> tuple[TensorSpec, ...]:
    """Without a mask."""
    types = int(config.get("type_vocab_size", 4)) > 1
    names = ("input_ids", "token_type_ids") if types else ("input_ids",)
    return tuple(TensorSpec(name, "int64", ("batch_size", "seq_len")) for name in names)


ARCHITECTURE = Architecture(
    model_type="fnet",
    limit=positions,
    default_pad_id=3,
    blocks={"fnet.FNetBasicFourierTransform": "fourier.FourierTransform"},
    inputs=texts,
    pads=never_pads,
    refused=unless(  # see ``FNetModel.forward``
        "use_tpu_fourier_optimizations",
        False,
        "with use_tpu_fourier_optimizations it takes rows of exactly tpu_short_seq_length tokens",
    ),
)
