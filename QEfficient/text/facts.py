"""What a model's folder says about its text: limit, padding, prompts; and the program's own ``tokenizer.json``."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from QEfficient.cache import file_digests
from QEfficient.hub import read_object
from QEfficient.records import Json, TextFacts
from QEfficient.sentence_repo import SentenceRepo

TOKENIZER = "tokenizer.json"
# Tokenizers without a limit say 10^30; the models with the longest context stay below this.
NO_LIMIT = 10**6
# The files from which transformers builds a tokenizer.
_FILES = (
    TOKENIZER,
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "bpe.codes",
    "spiece.model",
    "sentencepiece.bpe.model",
    "sentencepiece.model",
    "tokenizer.model",
    "spm.model",
    "source.spm",
    "target.spm",
    "target_vocab.json",
    "chat_template.jinja",
    "chat_template.json",
)
# What a sentence-transformers repo says in the same words.
_OF_REPO = ("lower_case", "prompts", "default_prompt", "route", "tasks", "similarity", "truncate_dim")
# Those from which it builds an image processor or a feature extractor.
_PROCESSOR_FILES = ("preprocessor_config.json", "processor_config.json")


def read_facts(folder: Path, *, repo: SentenceRepo | None = None, max_positions: int | None = None) -> TextFacts:
    """The facts of a model's folder, read from its JSON files.

    The limit is the lesser of ``max_positions`` and the repo's ``max_seq_length``; where the repo sets none, the
    tokenizer's ``model_max_length`` stands in if that is below ``NO_LIMIT``. sentence-transformers puts its own in
    place of the tokenizer's likewise. Where nothing is known it is ``NO_LIMIT``.

    Args:
        folder: The model's folder; of a sentence-transformers repo its Transformer's folder is read.
        repo: The sentence-transformers repo, when the folder is one.
        max_positions: Tokens that the model's positions take, as its architecture counts them.

    Raises:
        LoadError: A file is malformed.
    """
    folder = folder if repo is None else repo.transformer
    config = read_object(folder / "tokenizer_config.json", missing_ok=True)
    own = None if repo is None else repo.max_seq_length
    limits = [max_positions, _tokenizer_limit(config) if own is None else own]
    facts = TextFacts(
        tokenizer=TOKENIZER if (folder / TOKENIZER).is_file() else None,
        max_length=min((limit for limit in limits if limit is not None), default=NO_LIMIT),
        pad_id=_pad_id(folder, config),
        pad_type_id=int(config.get("pad_token_type_id") or 0),
        padding_side=str(config.get("padding_side") or "right"),
        clean_up_spaces=config.get("clean_up_tokenization_spaces") is True,
    )
    if repo is None:
        return facts
    return replace(facts, **{name: getattr(repo, name) for name in _OF_REPO})


def tokenizer_files(folder: Path) -> tuple[Path, ...]:
    """The files of the folder that decide what its tokenizer does; their content belongs into a program's key."""
    return tuple(folder / name for name in _FILES if (folder / name).is_file())


def preprocessing_files(folder: Path) -> tuple[Path, ...]:
    """The tokenizer's files, and those of an image processor or a feature extractor."""
    return (*tokenizer_files(folder), *(folder / name for name in _PROCESSOR_FILES if (folder / name).is_file()))


def preprocessing_key(folder: Path | None, keywords: Mapping[str, Json]) -> dict[str, Json]:
    """Ingredients of a key: the content of :func:`preprocessing_files`, and what :func:`write_tokenizer` is given."""
    files = () if folder is None else preprocessing_files(folder)
    return {"preprocessing": file_digests(files), "tokenizer": dict(keywords)}


def copy_preprocessing(folder: Path, dest: Path) -> None:
    """Copies what ``dest`` lacks of these files, so that transformers' Auto classes read from it what they read here.

    It comes after :func:`write_tokenizer`, whose ``tokenizer.json`` gives them the same ids as the folder's own.
    """
    for path in preprocessing_files(folder):
        if not (dest / path.name).exists():
            shutil.copyfile(path, dest / path.name)


def write_tokenizer(folder: Path, dest: Path, keywords: Mapping[str, Json] | None = None) -> str | None:
    """Writes the program's own ``tokenizer.json``, as ``convert.portable_tokenizer`` makes it.

    It is what transformers makes of the folder: that builds many tokenizers from ``tokenizer_config.json`` and the
    vocabulary rather than from the folder's ``tokenizer.json``, and converts those that have no fast file.

    Args:
        folder: The folder with the tokenizer's files (of a sentence-transformers repo, ``repo.transformer``).
        dest: An existing folder.
        keywords: What counts in place of ``tokenizer_config.json``, as ``repo.tokenizer`` has it.

    Returns:
        The name of the file in ``dest``, or ``None`` when the tokenizer has no form that works without
        transformers; the reason is logged.
    """
    if not tokenizer_files(folder):
        return None
    from QEfficient.text import convert  # needs transformers; only where a program is being made

    backend = convert.portable_tokenizer(folder, keywords)
    if backend is None:
        return None
    backend.save(str(dest / TOKENIZER))
    return TOKENIZER


def _tokenizer_limit(config: Mapping[str, Json]) -> int | None:
    limit = config.get("model_max_length", config.get("max_len"))
    if isinstance(limit, bool) or not isinstance(limit, int | float) or not 0 < limit < NO_LIMIT:
        return None
    return int(limit)


def _pad_id(folder: Path, config: Mapping[str, Json]) -> int:
    """Id of the tokenizer's pad token; without one, of the model's config; 0 as a last resort (it is masked)."""
    token = config.get("pad_token") or read_object(folder / "special_tokens_map.json", missing_ok=True).get("pad_token")
    token = token.get("content") if isinstance(token, dict) else token
    if token is not None:
        for index, entry in (config.get("added_tokens_decoder") or {}).items():
            if entry.get("content") == token:
                return int(index)
        found = _vocabulary_id(folder, token)
        if found is not None:
            return found
    else:
        padding = read_object(folder / TOKENIZER, missing_ok=True).get("padding")
        if padding:
            return int(padding["pad_id"])
    return int(read_object(folder / "config.json", missing_ok=True).get("pad_token_id") or 0)


def _vocabulary_id(folder: Path, token: str) -> int | None:
    content = read_object(folder / TOKENIZER, missing_ok=True)
    for entry in content.get("added_tokens") or ():
        if entry.get("content") == token:
            return int(entry["id"])
    vocab = (content.get("model") or {}).get("vocab") or read_object(folder / "vocab.json", missing_ok=True)
    if isinstance(vocab, list):  # of a unigram model: pairs of piece and score
        pieces = [piece[0] for piece in vocab]
        return pieces.index(token) if token in pieces else None
    if not vocab and (folder / "vocab.txt").is_file():
        lines = (folder / "vocab.txt").read_text(encoding="utf-8").split("\n")
        return lines.index(token) if token in lines else None
    return vocab.get(token)
