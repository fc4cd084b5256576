"""Keywords of the vendor's decoders that are not built: taken at their defaults, else refused by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from QEfficient.errors import NotYetSupportedError, OptionError, unknown


@dataclass(frozen=True, slots=True)
class Refused:
    """A keyword that changes nothing here at its default, and is refused at anything else.

    Attributes:
        default: What is taken.
        why: What it would do, and why it is not done.
        do: What to do in its place.
    """

    default: object
    why: str
    do: str


_BUCKETS = "reads of the cache that grow with the context are a later version's"
_DISAGGREGATED = "a cache that is handed from a prefill's program to another's is a later version's"
_LAYERWISE = "a model is exported as a whole here: its weights are read in pieces, and its memory is bounded by that"

COMPILE: Mapping[str, Refused] = {
    "comp_ctx_lengths_prefill": Refused(None, _BUCKETS, "drop it; ctx_len= alone says how long a cache is"),
    "comp_ctx_lengths_decode": Refused(None, _BUCKETS, "drop it; ctx_len= alone says how long a cache is"),
    "enable_chunking": Refused(False, _DISAGGREGATED, "drop it; long prompts are read in chunks of prefill_seq_len"),
    "retain_full_kv": Refused(None, _DISAGGREGATED, "drop it; layers with a window keep that window"),
    "moe_prefill_packed_chunk_size": Refused(256, "no type with experts is served yet", "drop it"),
    "layerwise": Refused(False, _LAYERWISE, "drop it"),
    "layerwise_window_size": Refused(1, _LAYERWISE, "drop it"),
    "kv_cache_prefix": Refused(None, _DISAGGREGATED, "drop it; caches are past_key.N and past_value.N"),
}
"""Of ``compile``; those of ``export`` are among them."""

OPTIONS: Mapping[str, str] = {
    "specializations": "pass prefill_seq_len, ctx_len, batch_size and full_batch_size, which are what is compiled for",
    "retained_state": "drop it: the caches of a decoder always stay on the device",
    "split_retained_state_io": "drop it: state that is handed from one program to another is a later version's",
}
"""Compiler options of the vendor's ``compile`` that a decoder does not take → what to do."""

LOAD: Mapping[str, Refused] = {
    "layerwise": Refused(False, _LAYERWISE, "drop it"),
    "kv_offload": Refused(None, "it is for models that see, which are a later version's", "drop it"),
    "enable_proxy": Refused(False, "it exports a model without its embeddings and head", "drop it"),
}
"""Of ``from_pretrained`` and the constructor."""

SPECULATION = "speculative_model_type"
TARGET = "target"

QAIC_CONFIG: Mapping[str, Refused] = {
    SPECULATION: Refused(None, "only a target of speculation is served", f'pass "{TARGET}", or drop it'),
    "include_sampler": Refused(False, "tokens are chosen on the host", "drop it; pass temperature to generate"),
    "return_pdfs": Refused(False, "tokens are chosen on the host", "drop it; pass output_scores to generate"),
    "max_top_k_ids": Refused(512, "tokens are chosen on the host, among all", "drop it; generate takes any top_k"),
    "include_guided_decoding": Refused(False, "grammars are held to on the host", "drop it; generate takes a grammar"),
    "num_kv_blocks": Refused(None, "attention is not cut into blocks", "drop it"),
    "ccl_enabled": Refused(False, _BUCKETS, "drop it"),
    "mla_absorption": Refused(None, "no type with latent attention is served yet", "drop it"),
    "enable_blocking": Refused(False, "attention is not cut into blocks", "drop it"),
}
"""Keys of ``qaic_config``."""


def refuse_changed(given: Mapping[str, Any], known: Mapping[str, Refused], what: str = "") -> None:
    """Refuses keywords that are not at their defaults.

    Args:
        given: Keyword → value; others than the known ones are not looked at.
        known: Those that are refused.
        what: What they are keys of.

    Raises:
        NotYetSupportedError: Names the keyword, why it is not taken, and what to do.
    """
    for name, one in known.items():
        value = given.get(name, one.default)
        if value is not None and value != one.default:
            raise NotYetSupportedError(
                f"{name} is not taken{what and ' in ' + what}: {one.why}.",
                got=f"{name}={value!r}",
                allowed=f"{name}={one.default!r}, or leave it out",
                do=one.do,
            )


def refuse_options(options: Mapping[str, Any]) -> None:
    """Refuses compiler options that would change what a decoder is compiled for.

    Raises:
        OptionError: One is given.
    """
    for name, do in OPTIONS.items():
        if options.get(name):
            raise OptionError(f"{name} is not taken for a decoder.", got=name, allowed="leave it out", do=do)


def checked_qaic_config(value: object) -> dict[str, Any]:
    """A ``qaic_config``: every key is known, and at a value that is served.

    Raises:
        OptionError: It is no mapping, or has a key that is unknown.
        NotYetSupportedError: A key asks for what is not built.
    """
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        do = 'for example qaic_config={"speculative_model_type": "target"}'
        raise OptionError("qaic_config is no mapping.", got=f"qaic_config={value!r}", allowed="a dict, or None", do=do)
    for name in value:
        if name not in QAIC_CONFIG:
            what = f"qaic_config has no key {name!r}."
            raise unknown(OptionError, what, name, QAIC_CONFIG, argument="qaic_config", do="correct the name")
    asked = dict(value)
    if asked.get(SPECULATION) == TARGET:
        del asked[SPECULATION]
    refuse_changed(asked, QAIC_CONFIG, "qaic_config")
    return dict(value)
