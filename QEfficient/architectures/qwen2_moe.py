"""Qwen2 MoE: as Qwen2, with a mixture of experts."""

from dataclasses import replace
from functools import partial

from QEfficient.architectures import llama, mixtral
from QEfficient.architectures.record import rotary

SOURCE = "transformers.models.qwen2_moe.modeling_qwen2_moe.Qwen2MoeExperts"
ARCHITECTURE = replace(
    llama.ARCHITECTURE,
    model_type="qwen2_moe",
    limit=partial(rotary, default=32768),
    blocks={SOURCE: mixtral.EXPERTS},
    routed=True,
)
