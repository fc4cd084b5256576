"""LongT5: as T5, with local attention as a mask; the transient-global one is refused."""

from dataclasses import replace

from QEfficient.architectures import find
from QEfficient.architectures.record import Config


def refused(config: Config) -> str | None:
    """Transient-global attention."""
    if config.get("encoder_attention_type", "local") == "local":
        return None
    return "the exporter makes a constant of the number of blocks that its transient-global attention averages"


ARCHITECTURE = replace(
    find("t5"),
    model_type="longt5",
    mask="own",
    blocks={
        "longt5.LongT5Stack": "longt5.Stack",
        "longt5.LongT5LocalAttention": "longt5.LocalAttention",
    },
    refused=refused,
)
