"""Keywords that people know from the vendor's ``generate`` or from transformers', and that mean nothing here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from QEfficient.errors import UsageError

_CARD_SAMPLER = "pass temperature=, top_k=, top_p=, …: tokens are chosen on the host, equally on every device"
_TORCH = "drop it, or use the torch model: generate(…, runtime_ai100=False)"
_LOOKUP = "prompt_lookup_num_tokens drafts tokens without a second model"
_ADAPTERS = "drop it; one program holds one set of weights"

REFUSED: Mapping[str, str] = {
    "write_io": "drop it; write_io is there for encoders: a step's arrays without its caches say nothing",
    "enable_debug_logs": "drop it, and set the level of the logger: logging.getLogger('QEfficient')",
    "include_sampler": _CARD_SAMPLER,
    "return_pdfs": "drop it; output_scores=True, return_dict_in_generate=True gives the scores of each step",
    "include_guided_decoding": "drop it, and pass grammar= or json_schema=",
    "sampling_params": _CARD_SAMPLER,
    "is_tlm": "drop it; " + _LOOKUP,
    "comp_ctx_lengths_prefill": "pass it to compile()",
    "comp_ctx_lengths_decode": "pass it to compile()",
    "prompt_to_lora_id_mapping": _ADAPTERS,
    "prompt_to_adapter_mapping": _ADAPTERS,
    "adapter_names": _ADAPTERS,
    "inputs_embeds": "pass input_ids; a program begins with its table of embeddings",
    "past_key_values": "drop it; the caches stay on the device, and a prompt that goes on finds them there",
    "cache_position": "drop it; positions follow from attention_mask",
    "position_ids": "drop it; positions follow from attention_mask",
    "labels": "drop it",
    "assistant_model": "drop it; " + _LOOKUP,
    "assistant_tokenizer": "drop it; " + _LOOKUP,
    "negative_prompt_ids": "drop it; " + _TORCH.removeprefix("drop it, or "),
    "negative_prompt_attention_mask": "drop it; " + _TORCH.removeprefix("drop it, or "),
    "custom_generate": _TORCH,
    "synced_gpus": "drop it; nothing is spread over processes",
}
"""Keyword → what to do instead. ``None`` and ``False`` are taken: they ask for nothing."""


def refuse(keywords: dict[str, Any]) -> None:
    """Takes out of ``keywords`` those of :data:`REFUSED` that ask for nothing.

    Raises:
        UsageError: One asks for something.
    """
    for name, do in REFUSED.items():
        if name in keywords:
            value = keywords.pop(name)
            if value is not None and value is not False:
                raise UsageError(
                    f"{name} can't be had from a compiled program.",
                    got=f"{name}={type(value).__name__}" if hasattr(value, "__len__") else f"{name}={value!r}",
                    allowed=f"{name} left out",
                    do=do,
                )
