"""RoCBERT: as BERT, with a shape and a sound for each token, joined to its word; the first ones where none is given."""

from dataclasses import replace

from QEfficient.architectures import find
from QEfficient.architectures.record import Config
from QEfficient.records import TokenInput

KINDS = ("shape", "pronunciation")
WHY = "with this config, what is left out is not added at all, and no number stands for that"


def looks_and_sounds(config: Config) -> tuple[TokenInput, ...]:
    """See ``RoCBertEmbeddings.forward``: only where they are joined, zeros stand for what is left out."""
    if not config.get("concat_input", True):
        return ()
    return tuple(TokenInput(f"input_{kind}_ids") for kind in KINDS if config.get(f"enable_{kind}", True))


ARCHITECTURE = replace(
    find("bert"),
    model_type="roc_bert",
    blocks={"roc_bert.RoCBertSelfAttention": "bert.FoldedSelfAttention"},
    more=looks_and_sounds,
    left_out={f"input_{kind}_ids": WHY for kind in KINDS},
)
