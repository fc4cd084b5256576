"""What a model's files say of its text side."""

from __future__ import annotations

import dataclasses

from QEfficient.architectures import find
from QEfficient.architectures.record import is_word
from QEfficient.records import Json, TextFacts
from QEfficient.source.lengths import reach
from QEfficient.source.origin import Origin
from QEfficient.text.facts import read_facts


def text_facts(origin: Origin) -> TextFacts:
    """What the model's files say of its text side; for a module in memory only what its config says."""
    limit, config = reach(origin).whole, origin.config()
    if origin.folder is None:
        pad = find(str(config.get("model_type", ""))).pad_id(config) or 0
        return TextFacts(tokenizer=None, max_length=limit or reach(origin).last, pad_id=pad)
    facts = read_facts(origin.folder, repo=origin.repo, max_positions=limit)
    own = config.get("pad_token_id")  # what the model itself takes for padding goes before the tokenizer's
    fits = [token for token in (own, facts.pad_id) if isinstance(token, int) and is_word(config, token)]
    return dataclasses.replace(facts, pad_id=(fits or [0])[0])  # a table may lack the token that was added for it


def tokenizer_keywords(origin: Origin) -> dict[str, Json]:
    """What counts in place of what the model's ``tokenizer_config.json`` says."""
    return dict(origin.repo.tokenizer) if origin.repo else {}
