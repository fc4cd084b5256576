"""X-MOD: as RoBERTa, with the adapter of one language, the config's default_language."""

from dataclasses import replace

from QEfficient.architectures import bert, roberta
from QEfficient.architectures.record import Config

MODELING = "transformers.models.xmod.modeling_xmod"
ROOM = "QEfficient.pytorch_transforms.xmod"


def refused(config: Config) -> str | None:
    """Without a language transformers raises, too."""
    if config.get("default_language") is not None:
        return None
    return "its config names no default_language; call set_default_language on the model"


ARCHITECTURE = replace(
    roberta.ARCHITECTURE,
    model_type="xmod",
    blocks={
        f"{MODELING}.XmodSelfAttention": bert.BLOCK,
        f"{MODELING}.XmodEncoder": f"{ROOM}.Encoder",
        f"{MODELING}.XmodOutput": f"{ROOM}.Output",
    },
    left_out={"lang_ids": "a program has the adapter of one language, the config's default_language"},
    refused=refused,
)
