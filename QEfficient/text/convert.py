"""A model's tokenizer → one that works without transformers. Runs only while a program is being made."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from QEfficient.records import Json

if TYPE_CHECKING:
    from tokenizers import Tokenizer as FastTokenizer
    from transformers import PreTrainedTokenizerBase

_log = logging.getLogger(__name__)


def portable_tokenizer(folder: Path) -> FastTokenizer | None:
    """The fast tokenizer that transformers makes of the folder, without truncation and padding.

    ``None`` when ``tokenizers`` alone could not do what it does; the reason is logged.
    """
    try:
        return _without_type_ids(_load(folder))
    except _NotPortableError as reason:
        _log.warning("The program of %s takes ids only, not strings: %s.", folder, reason)
        return None


class _NotPortableError(Exception):
    """Why a tokenizer needs transformers at run time."""


def _load(folder: Path) -> PreTrainedTokenizerBase:
    from transformers import AutoTokenizer  # 3 s

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # tokenizer classes raise whatever their readers raise
        raise _NotPortableError(f"transformers can't load its tokenizer ({error})") from error
    if not tokenizer.is_fast:
        raise _NotPortableError(f"{type(tokenizer).__name__} has no fast form")
    if tokenizer.truncation_side != "right":
        raise _NotPortableError("it shortens texts at their start")
    if tokenizer.split_special_tokens:
        raise _NotPortableError("it splits special tokens")
    return tokenizer


def _without_type_ids(tokenizer: PreTrainedTokenizerBase) -> FastTokenizer:
    """The fast tokenizer, with type ids of 0 where its transformers class does not return them.

    Models such as XLM-R have one token type only; HuggingFace leaves the column out, so that they see zeros.
    """
    from tokenizers import Tokenizer as FastTokenizer  # with transformers, so that importing this costs nothing

    keeps_types = "token_type_ids" in tokenizer.model_input_names
    content = json.loads(tokenizer.backend_tokenizer.to_str())
    if not keeps_types:
        _zero_type_ids(content["post_processor"])
    content["truncation"] = content["padding"] = None
    backend = FastTokenizer.from_str(json.dumps(content))
    if not keeps_types and any(backend.encode("a", "b").type_ids):
        raise _NotPortableError("it gives token type ids that its transformers class drops")
    return backend


def _zero_type_ids(node: Json) -> None:
    """Sets every ``type_id`` of the post-processor's templates to 0."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "type_id":
                node[key] = 0
            else:
                _zero_type_ids(value)
    elif isinstance(node, list):
        for value in node:
            _zero_type_ids(value)
