"""Every field of transformers' ``GenerationConfig``: how it is read, or why it is refused. A test walks them.

``OBEYED`` has those that change what is written, and the library's own (:data:`OURS`). ``REFUSED`` has those that would
change it and are not built. ``MACHINERY`` has those that change how transformers runs, and no token: a repo's file may
set them, for transformers' sake; a caller who does is told that they do nothing here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from QEfficient.generation import settings_values as values
from QEfficient.generation.settings_values import Number, Read, Whole, flag


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a field can't be obeyed.

    Attributes:
        what: What it is.
        do: What to do instead.
        neutral: Its values that ask for nothing, beside ``None`` and ``False``.
    """

    what: str
    do: str
    neutral: tuple[Any, ...] = ()


OURS = ("presence_penalty", "frequency_penalty", "logit_bias", "logprobs", "seed")
"""Parameters that transformers has not."""

OF_CALLS = (
    "generation_config",
    "generation_len",
    "logits_processor",
    "stopping_criteria",
    "prefix_allowed_tokens_fn",
    "tokenizer",
    "json_schema",
    "json_compact",
    "regex",
    "grammar",
)
"""What a call may name beside the fields; none of these is read as one."""

OBEYED: dict[str, Read] = {
    "max_length": Whole(1),
    "max_new_tokens": Whole(1),
    "min_length": Whole(),
    "min_new_tokens": Whole(),
    "early_stopping": values.early_stopping,
    "max_time": Number(0, above=True),
    "stop_strings": values.strings,
    "do_sample": flag,
    "num_beams": Whole(1),
    "num_return_sequences": Whole(1),
    "temperature": Number(0, do="pass a number above 0, or 0 for the likeliest token each time"),
    "top_k": Whole(0, "pass 0 to switch it off"),
    "top_p": Number(0, 1, do="pass 1 to switch it off"),
    "min_p": Number(0, 1, do="pass None to switch it off"),
    "top_h": Number(0, 1, above=True, do="pass None to switch it off"),
    "typical_p": Number(0, 1, above=True, do="pass 1 to switch it off"),
    "epsilon_cutoff": Number(0, 1, below=True, do="pass 0 to switch it off"),
    "eta_cutoff": Number(0, 1, below=True, do="pass 0 to switch it off"),
    "repetition_penalty": Number(0, above=True, do="pass 1 to switch it off"),
    "encoder_repetition_penalty": Number(0, above=True, do="pass 1 to switch it off"),
    "presence_penalty": Number(-2, 2),
    "frequency_penalty": Number(-2, 2),
    "length_penalty": Number(),
    "no_repeat_ngram_size": Whole(0, "pass 0 to switch it off"),
    "encoder_no_repeat_ngram_size": Whole(0, "pass 0 to switch it off"),
    "bad_words_ids": values.token_lists,
    "sequence_bias": values.sequence_bias,
    "logit_bias": values.logit_bias,
    "renormalize_logits": flag,
    "remove_invalid_values": flag,
    "forced_bos_token_id": values.token,
    "forced_eos_token_id": values.tokens,
    "exponential_decay_length_penalty": values.decay,
    "suppress_tokens": values.tokens,
    "begin_suppress_tokens": values.tokens,
    "pad_token_id": values.any_id,
    "bos_token_id": values.any_id,
    "eos_token_id": values.tokens,
    "output_scores": flag,
    "output_logits": flag,
    "return_dict_in_generate": flag,
    "prompt_lookup_num_tokens": Whole(0, "pass 0 to switch it off"),
    "max_matching_ngram_size": Whole(1, "leave it out for as many as are of use"),
    "logprobs": values.logprobs,
    "seed": Whole(None),
}

_ASSISTED = "assisted generation, in which a second model, or a part of this one, guesses tokens ahead"
_WITHOUT = "leave it out"
_LOOKUP = "pass prompt_lookup_num_tokens, which guesses out of the text so far"

REFUSED: dict[str, Refusal] = {
    "guidance_scale": Refusal("classifier-free guidance, which runs a second prompt beside each", _WITHOUT, (1,)),
    "watermarking_config": Refusal("a watermark in the choice of tokens", _WITHOUT),
    "token_healing": Refusal("token healing, which takes back the prompt's last token", _WITHOUT),
    "output_attentions": Refusal("attentions, which a compiled program does not give", "use the torch model for them"),
    "output_hidden_states": Refusal(
        "hidden states, which a compiled program does not give", "use the torch model for them"
    ),
    "num_beam_groups": Refusal("diverse beam search, in groups", "use num_beams alone, or do_sample=True", (1,)),
    "diversity_penalty": Refusal("a part of diverse beam search", "use num_beams alone, or do_sample=True", (0,)),
    "constraints": Refusal("constrained beam search", "use sequence_bias or a grammar"),
    "force_words_ids": Refusal("constrained beam search", "use sequence_bias or a grammar"),
    "penalty_alpha": Refusal("contrastive search, which compares hidden states", "use top_k or top_p", (0,)),
    "dola_layers": Refusal("DoLa, which reads the logits of lower layers", _WITHOUT),
    "use_mtp": Refusal(_ASSISTED, _LOOKUP),
    "assistant_early_exit": Refusal(_ASSISTED, _LOOKUP),
    "assistant_ensemble_weight": Refusal(_ASSISTED, _LOOKUP),
    "speculation_type": Refusal(_ASSISTED, _LOOKUP),
    "is_assistant": Refusal(_ASSISTED, _LOOKUP),
    "low_memory": Refusal("a form of beam search that transformers has dropped too", _WITHOUT),
}

MACHINERY: dict[str, tuple[Any, ...]] = {
    "use_cache": (True,),
    "cache_implementation": (),
    "cache_config": (),
    "max_cache_len": (),
    "prefill_chunk_size": (),
    "compile_config": (),
    "disable_compile": (),
    "continuous_batching_config": (),
    "decoder_start_token_id": (),
    "num_assistant_tokens": (20,),
    "num_assistant_tokens_schedule": ("constant",),
    "assistant_confidence_threshold": (0.4,),
    "assistant_lookbehind": (10,),
    "target_lookbehind": (10,),
}
"""Field → its values that ask for nothing, beside ``None``."""

NOTES = ("transformers_version", "_from_model_config", "_commit_hash", "_original_object_hash", "_mask_length")
"""What stands in a config beside its fields."""
