"""The options of a repo's Transformer module: which of them a graph, or a program's tokenizer, can follow."""

from __future__ import annotations

from collections.abc import Mapping

from QEfficient.errors import PoolingError
from QEfficient.records import Json

# The text road of the Transformer module; any other asks another method of the model, or a chat template.
_TEXT_ROAD = {"method": "forward", "method_output_name": "last_hidden_state"}
_DEFAULTS: Mapping[str, Json] = {
    "transformer_task": "feature-extraction",
    "module_output_name": "token_embeddings",
    "processing_kwargs": None,
    "query_length": None,
    "document_length": None,
    "query_expansion": None,
    "tokenizer_name_or_path": None,
    "backend": "torch",
}
# Read elsewhere, or without an effect on a row's numbers.
_FOLLOWED = {"max_seq_length", "do_lower_case", "unpad_inputs", "modality_config"}
TOKENIZING = {
    *("truncation_side", "split_special_tokens", "model_max_length", "do_lower_case", "strip_accents"),
    *("tokenize_chinese_chars", "add_prefix_space", "add_bos_token", "add_eos_token"),
}
"""Keywords for the tokenizer that are handed to it when a program is made; the limit is read elsewhere."""
# Keywords for transformers' own loaders → those that change no number in float32 on one row.
_LOADING: Mapping[str, set[str]] = {
    "model_kwargs": {"add_pooling_layer", "attn_implementation", "dtype", "low_cpu_mem_usage", "torch_dtype"},
    "processor_kwargs": {"padding_side", "use_fast", *TOKENIZING},
    "config_kwargs": {"use_cache"},
}
_OLD_NAMES = {"model_args": "model_kwargs", "tokenizer_args": "processor_kwargs", "config_args": "config_kwargs"}


def check_options(options: Mapping[str, Json]) -> None:
    """Refuses options that would change the vectors and that nothing here follows.

    Raises:
        PoolingError: There are such options; the message names them.
    """
    unknown = unfollowed(options)
    if unknown:
        raise PoolingError(
            "The repo's Transformer module has options that are not supported.",
            got=", ".join(f"{name}={value!r}" for name, value in unknown.items()),
            allowed="max_seq_length, do_lower_case, and plain texts through the model's forward",
            do='choose a pooling by name, such as pooling="mean", if these options do not matter to you',
        )


def unfollowed(options: Mapping[str, Json]) -> dict[str, Json]:
    """The options that would change the numbers and that nothing here follows."""
    return {name: value for name, value in options.items() if not _is_followed(_OLD_NAMES.get(name, name), value)}


def _is_followed(name: str, value: Json) -> bool:
    if name in _LOADING:
        # trust_remote_code is the caller's to say; sentence-transformers drops it too.
        return not value or (isinstance(value, dict) and set(value) <= _LOADING[name] | {"trust_remote_code"})
    if name == "modality_config":
        return isinstance(value, dict) and value.get("text") == _TEXT_ROAD and "message" not in value
    return name in _FOLLOWED or (name in _DEFAULTS and (value or None) in (None, _DEFAULTS[name]))
