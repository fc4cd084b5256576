"""Qwen3 MoE: as Qwen3, with a mixture of experts."""

from dataclasses import replace
from functools import partial

from QEfficient.architectures import llama, mixtral
from QEfficient.architectures.record import rotary

SOURCE = "transformers.models.qwen3_moe.modeling_qwen3_moe.Qwen3MoeExperts"
ARCHITECTURE = replace(
    llama.ARCHITECTURE,
    model_type="qwen3_moe",
    limit=partial(rotary, default=32768),
    blocks={SOURCE: mixtral.EXPERTS},
    routed=True,
)
