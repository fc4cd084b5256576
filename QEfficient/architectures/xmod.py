"""X-MOD: as RoBERTa, with the adapter of one language, the config's default_language."""

from dataclasses import replace

from QEfficient.architectures import find
from QEfficient.architectures.record import Config


def refused(config: Config) -> str | None:
    """Without a language transformers raises, too."""
    if config.get("default_language") is not None:
        return None
    return "its config names no default_language; call set_default_language on the model"


ARCHITECTURE = replace(
    find("roberta"),
    model_type="xmod",
    blocks={
        "xmod.XmodSelfAttention": "bert.FoldedSelfAttention",
        "xmod.XmodEncoder": "xmod.OneLanguageEncoder",
        "xmod.XmodOutput": "xmod.OneLanguageOutput",
    },
    left_out={"lang_ids": "a program has the adapter of one language, the config's default_language"},
    refused=refused,
)
