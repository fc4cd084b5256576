"""A model's or a program's tokenizer, which shortens nothing: who counts tokens wants them all.

A second call with the same model needs neither torch nor transformers: the tokenizer that they make stays in the cache.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from QEfficient.cache import Cache, library_versions, write_envelope
from QEfficient.errors import UsageError
from QEfficient.inference.prompts import all_prompts, find_prompt
from QEfficient.records import Json, Program, TextFacts
from QEfficient.runtime.stream import WINDOW
from QEfficient.source.recipe import Recipe
from QEfficient.tasks.catalogue import TEXT2TEXT_GENERATION
from QEfficient.text.facts import TOKENIZER, preprocessing_key, write_tokenizer
from QEfficient.text.tokenizer import Tokenizer

STAGE = "tokenizer"
NO_LIMIT = 10**9  # tokens


def program_tokenizer(program: Program) -> Tokenizer | None:
    """A program's own; ``None`` where it takes ids only."""
    text = program.manifest.text
    if text is None or text.tokenizer is None:
        return None
    return Tokenizer.from_folder(program.path, replace(text, max_length=NO_LIMIT))


def model_tokenizer(recipe: Recipe, text: TextFacts) -> Tokenizer | None:
    """A model's, in its portable form; ``None`` for a model in memory, and where there is no fast form."""
    folder = recipe.origin.folder
    if folder is None:
        return None
    kept = _kept(recipe, folder)
    if not (kept / TOKENIZER).is_file():
        return None
    return Tokenizer.from_folder(kept, replace(text, tokenizer=TOKENIZER, max_length=NO_LIMIT))


def write_recipe_tokenizer(recipe: Recipe, folder: Path, dest: Path) -> str | None:
    """Writes a model's tokenizer into ``dest``: both sides of one that reads a text and writes another.

    Returns:
        The name of the file that reads texts, or ``None`` where there is none; the reason is logged.
    """
    if recipe.task == TEXT2TEXT_GENERATION:
        from QEfficient.text.convert_sides import write_sides  # transformers

        return write_sides(folder, dest, recipe.origin.tokenizer_keywords)
    return write_tokenizer(folder, dest, recipe.origin.tokenizer_keywords)


def _kept(recipe: Recipe, folder: Path) -> Path:
    """The folder of the cache that holds the model's tokenizer in its portable form, if it has one."""
    keywords = recipe.origin.tokenizer_keywords
    ingredients: dict[str, Json] = {
        "config": json.loads(json.dumps(recipe.origin.config(), default=str)),
        "versions": library_versions(),
    } | preprocessing_key(folder, keywords)
    if recipe.task == TEXT2TEXT_GENERATION:
        ingredients["sides"] = True

    def build(workdir: Path) -> None:
        write_recipe_tokenizer(recipe, folder, workdir)
        write_envelope(workdir, stage=STAGE, key=ingredients, versions=library_versions(), body={})

    path, _ = Cache().get_or_build(recipe.origin.name, STAGE, ingredients, build)
    return path


def text_lengths(texts: Sequence[str], tokenizer: Tokenizer | None) -> tuple[int, ...]:
    """Tokens of each text, special tokens and the default prompt included; nothing is shortened.

    Raises:
        UsageError: The model has no tokenizer that reads texts.
    """
    if tokenizer is None:
        raise UsageError(
            "This model has no tokenizer, so texts have no length.",
            got=f"{len(texts)} texts",
            allowed="a model that was loaded by name, from a repo whose tokenizer has a fast form",
            do="leave texts out",
        )
    prompt = find_prompt(all_prompts(tokenizer.facts), tokenizer.facts.default_prompt, None, None)
    found: list[int] = []
    for start in range(0, len(texts), WINDOW):
        found += tokenizer.encode(texts[start : start + WINDOW], prompt=prompt, first=start).rows.lengths
    return tuple(found)
