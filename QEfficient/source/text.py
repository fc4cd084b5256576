"""What a model's files say of its text side."""

from __future__ import annotations

import dataclasses

from QEfficient.architectures.record import is_word
from QEfficient.records import TextFacts
from QEfficient.sentence_repo import read_scoring
from QEfficient.source.recipe import Recipe
from QEfficient.tasks.catalogue import TEXT_CLASSIFICATION
from QEfficient.text.facts import read_facts


def text_facts(recipe: Recipe) -> TextFacts:
    """What the model's files say of its text side; for a module in memory only what its config says."""
    origin, limit, config = recipe.origin, recipe.reach.whole, recipe.origin.config()
    if origin.folder is None:
        pad = recipe.architecture.pad_id(config) or 0
        return TextFacts(tokenizer=None, max_length=limit or recipe.reach.last, pad_id=pad)
    facts = read_facts(origin.folder, repo=origin.repo, max_positions=limit)
    if recipe.task is TEXT_CLASSIFICATION:
        scoring = read_scoring(origin.folder, origin.repo)
        facts = dataclasses.replace(facts, activation=scoring.activation, chat=scoring.chat)
    own = config.get("pad_token_id")  # what the model itself takes for padding goes before the tokenizer's
    fits = (token for token in (own, facts.pad_id) if isinstance(token, int) and is_word(config, token))
    return dataclasses.replace(facts, pad_id=next(fits, 0))  # a table may lack the token that was added for it
