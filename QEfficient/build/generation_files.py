"""How a program writes text: its ``generation_config.json`` and its ``chat.json``.

The first is the repo's own, that of a module in memory, or what its config says; the second what transformers makes of
the repo's chat templates and special tokens.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from QEfficient.cache import file_digests
from QEfficient.generation.settings_fields import OBEYED
from QEfficient.hub import read_object
from QEfficient.records import Json
from QEfficient.source.checkpoint import Checkpoint
from QEfficient.source.origin import Origin
from QEfficient.text.chat_files import template_files, write_chat

GENERATION_FILE = "generation_config.json"
_OF_CONFIG = ("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id")


def generation_key(origin: Origin) -> dict[str, Json]:
    """Ingredients of a program's key: how the model writes text where nobody says anything else."""
    templates = () if origin.folder is None else template_files(origin.folder)
    return {"generation": generation_config(origin), "chat": file_digests(templates)}


def write_generation_files(origin: Origin, folder: Path, *, chats: bool) -> None:
    """Writes the files into a program's folder.

    Args:
        origin: The program's model.
        folder: The program's folder.
        chats: Write ``chat.json``: the program has a tokenizer.
    """
    content = json.dumps(generation_config(origin), indent=2)
    (folder / GENERATION_FILE).write_text(content, encoding="utf-8")
    if chats and origin.folder is not None:
        write_chat(origin.folder, folder, origin.tokenizer_keywords)


def generation_config(origin: Origin) -> dict[str, Json]:
    """What the model's ``generation_config`` says; without one, the special tokens of its config.

    Old repos of models with an encoder have all of it in there: beams, forced tokens, lengths. Whoever holds the
    module may have changed it, so it goes before the file.
    """
    if not isinstance(origin, Checkpoint) or origin.handed_out:
        own: Any = getattr(origin.module(), "generation_config", None)
        if own is not None:
            found: dict[str, Json] = json.loads(own.to_json_string(use_diff=True))
            return found
    elif (origin.model_folder / GENERATION_FILE).is_file():
        return read_object(origin.model_folder / GENERATION_FILE)
    config = origin.config()
    names = (*_OF_CONFIG, *OBEYED) if config.get("is_encoder_decoder") else _OF_CONFIG
    return {name: config[name] for name in dict.fromkeys(names) if config.get(name) is not None}
