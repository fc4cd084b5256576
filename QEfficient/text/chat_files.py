"""The chat templates of a folder, and the special tokens that they are given."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from QEfficient.errors import LoadError
from QEfficient.hub import read_object
from QEfficient.records import Json

CHAT = "chat.json"
"""A program's own: ``chat_template`` (a text, name → text, or null) and ``special_tokens`` (name → token)."""
TEMPLATE = "chat_template.jinja"
TEMPLATES = "additional_chat_templates"
_NAMED = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")

Templates = str | Mapping[str, str] | None


def read_chat(folder: Path) -> tuple[Templates, dict[str, str]]:
    """Templates and special tokens of a program's or a model's folder.

    Args:
        folder: One with ``chat.json``; else its ``chat_template.jinja`` and ``additional_chat_templates/*.jinja`` or,
            where there is neither, ``chat_template`` of ``tokenizer_config.json``, one or a list of named ones. Special
            tokens are then those that ``tokenizer_config.json`` (of an old repo, ``special_tokens_map.json``) names:
            what a tokenizer's class in transformers adds is not known here.

    Raises:
        LoadError: A file can't be read.
    """
    own = read_object(folder / CHAT, missing_ok=True)
    if own:
        return own["chat_template"], dict(own["special_tokens"])
    config = read_object(folder / "tokenizer_config.json", missing_ok=True)
    return _templates(folder, config), _special_tokens(folder, config)


def template_files(folder: Path) -> tuple[Path, ...]:
    """The folder's files that hold templates alone."""
    named = sorted((folder / TEMPLATES).glob("*.jinja"))
    return (*((folder / TEMPLATE,) if (folder / TEMPLATE).is_file() else ()), *named)


def write_chat(folder: Path, dest: Path, keywords: Mapping[str, Json] | None = None) -> str:
    """Writes ``chat.json``: what transformers makes of the folder, so that a program renders chats without it.

    Args:
        folder: The folder with the tokenizer's files.
        dest: An existing folder.
        keywords: As :func:`QEfficient.text.facts.write_tokenizer` takes them.

    Returns:
        The file's name.

    Raises:
        LoadError: transformers can't load the tokenizer.
    """
    from QEfficient.text import convert  # needs transformers; only where a program is being made

    templates, tokens = convert.chat_facts(folder, keywords)
    content = {"chat_template": templates, "special_tokens": tokens}
    (dest / CHAT).write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8")
    return CHAT


def _templates(folder: Path, config: Mapping[str, Any]) -> Templates:
    try:
        found = {
            "default" if path.name == TEMPLATE else path.name.removesuffix(".jinja"): path.read_text(encoding="utf-8")
            for path in template_files(folder)
        }
    except (OSError, UnicodeDecodeError) as error:
        raise LoadError(
            f"A chat template can't be read: {error}",
            got=str(folder),
            allowed="files of text in UTF-8",
            do="restore the file, or leave it out",
        ) from error
    if found:
        return found["default"] if list(found) == ["default"] else found
    in_config = config.get("chat_template")
    if isinstance(in_config, list):
        return {one["name"]: one["template"] for one in in_config}
    return in_config if isinstance(in_config, str | dict) else None


def _special_tokens(folder: Path, config: Mapping[str, Any]) -> dict[str, str]:
    """Those with a standard name, and others of the repo's whose names end with ``_token`` too."""
    legacy = (
        {} if "added_tokens_decoder" in config else read_object(folder / "special_tokens_map.json", missing_ok=True)
    )
    found = {name: value for name, value in (dict(config) | legacy).items() if name.endswith("_token")}
    tokens = {name: value["content"] if isinstance(value, dict) else value for name, value in found.items()}
    extra = config.get("extra_special_tokens")
    if isinstance(extra, dict):
        tokens |= extra
    return {name: token for name, token in tokens.items() if isinstance(token, str)}
