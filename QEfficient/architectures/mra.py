"""MRA: refused, its attention exists only as a CUDA kernel."""

from QEfficient.architectures.record import Architecture, Config, positions


def refused(config: Config) -> str:
    """``mra2_attention`` returns zeros when the kernel is not loaded."""
    return "its attention is a CUDA kernel; on a CPU transformers puts zeros in its place"


ARCHITECTURE = Architecture(model_type="mra", limit=positions, default_pad_id=1, default_types=1, refused=refused)
