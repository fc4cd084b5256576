"""BROS: refused, it reads boxes, and nothing stands for one that is left out."""

from QEfficient.architectures.record import Architecture, Config, positions


def refused(config: Config) -> str:
    """``BrosModel.forward`` raises without ``bbox``."""
    return "it needs a box on the page for every token (bbox), and a program must have one for texts without boxes"


ARCHITECTURE = Architecture(model_type="bros", limit=positions, default_pad_id=0, default_types=2, refused=refused)
