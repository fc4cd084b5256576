"""Mixtral: as Mistral, with a mixture of experts."""

from dataclasses import replace
from functools import partial

from QEfficient.architectures import llama
from QEfficient.architectures.record import rotary

EXPERTS = "QEfficient.pytorch_transforms.moe.Experts"

SOURCE = "transformers.models.mixtral.modeling_mixtral.MixtralExperts"
ARCHITECTURE = replace(
    llama.ARCHITECTURE,
    model_type="mixtral",
    limit=partial(rotary, default=131072),
    blocks={SOURCE: EXPERTS},
    routed=True,
)
