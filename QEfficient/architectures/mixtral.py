"""Mixtral: as Mistral, with a mixture of experts."""

from dataclasses import replace
from functools import partial

from QEfficient.architectures import llama
from QEfficient.architectures.record import rotary

ARCHITECTURE = replace(
    llama.ARCHITECTURE,
    model_type="mixtral",
    limit=partial(rotary, default=131072),
    blocks={"mixtral.MixtralExperts": "moe.Experts"},
    routed=True,
)
