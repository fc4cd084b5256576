"""A model's tokenizer → one that works without transformers. Runs only while a program is being made."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from QEfficient.errors import LoadError
from QEfficient.records import Json

if TYPE_CHECKING:
    from tokenizers import Tokenizer as FastTokenizer
    from transformers import PreTrainedTokenizerBase

# The length is any: nothing reads it.
_LEFT: Mapping[str, Json] = {"direction": "Left", "max_length": 10**6, "strategy": "LongestFirst", "stride": 0}
_log = logging.getLogger(__name__)


def portable_tokenizer(folder: Path, keywords: Mapping[str, Json] | None = None) -> FastTokenizer | None:
    """The fast tokenizer that transformers makes of the folder, without padding, and without truncation.

    But where it cuts at the start of a text, truncation says so: ``Tokenizer`` reads the direction, and no length.

    ``None`` when ``tokenizers`` alone could not do what it does; the reason is logged.

    Args:
        folder: The folder with the tokenizer's files.
        keywords: As ``AutoTokenizer.from_pretrained`` takes them.
    """
    try:
        return converted(_load(folder, keywords or {}))
    except NotPortableError as reason:
        _log.warning("The program of %s takes ids only, not strings: %s.", folder, reason)
        return None


def chat_facts(
    folder: Path, keywords: Mapping[str, Json] | None = None
) -> tuple[str | dict[str, str] | None, dict[str, str]]:
    """What the folder's tokenizer renders chats with: its templates, and its special tokens by name.

    Args:
        folder: The folder with the tokenizer's files.
        keywords: As ``AutoTokenizer.from_pretrained`` takes them.

    Raises:
        LoadError: transformers can't load it.
    """
    try:
        tokenizer = _load(folder, keywords or {})
    except NotPortableError as reason:
        raise LoadError(
            f"There is no tokenizer to render chats with: {reason}.",
            got=str(folder),
            allowed="a tokenizer that transformers loads and that has a fast form",
            do="tokenise with transformers and pass ids",
        ) from reason
    return tokenizer.chat_template, dict(tokenizer.special_tokens_map)


@contextmanager
def without_advice() -> Iterator[None]:
    """While it is entered, Marian's tokenizer does not recommend sacremoses, of which it makes no use."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Recommended: pip install sacremoses")
        yield


class NotPortableError(Exception):
    """Why a tokenizer needs transformers at run time."""


def _load(folder: Path, keywords: Mapping[str, Json]) -> PreTrainedTokenizerBase:
    from transformers import AutoTokenizer  # 3 s

    try:
        tokenizer = AutoTokenizer.from_pretrained(
            folder, **{**keywords, "local_files_only": True, "trust_remote_code": False}
        )
    except Exception as error:  # tokenizer classes raise whatever their readers raise
        raise NotPortableError(f"transformers can't load its tokenizer ({error})") from error
    if not tokenizer.is_fast:
        raise NotPortableError(f"{type(tokenizer).__name__} has no fast form")
    return tokenizer


def converted(tokenizer: PreTrainedTokenizerBase) -> FastTokenizer:
    """The fast tokenizer, with what its transformers class does around it.

    - Type ids are 0 where the class does not return them. Models such as XLM-R have one token type only; HuggingFace
      leaves the column out, so that they see zeros.
    - Special tokens in a text are no special tokens where the class splits them: they are not looked for, and what
      puts them around a text knows their ids.
    """
    from tokenizers import Tokenizer as FastTokenizer  # with transformers, so that importing this costs nothing

    keeps_types = "token_type_ids" in tokenizer.model_input_names
    content = json.loads(tokenizer.backend_tokenizer.to_str())
    if not keeps_types:
        _zero_type_ids(content["post_processor"])
    if tokenizer.split_special_tokens:
        content["added_tokens"] = [token for token in content["added_tokens"] if not token["special"]]
    content["truncation"] = _LEFT if tokenizer.truncation_side == "left" else None
    content["padding"] = None
    backend = FastTokenizer.from_str(json.dumps(content))
    if not keeps_types and any(backend.encode("a", "b").type_ids):
        raise NotPortableError("it gives token type ids that its transformers class drops")
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
