"""Masked language modelling: texts whose words are hidden anew each epoch, or texts that come with a hidden word."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from QEfficient.errors import InputError
from QEfficient.evaluate.answers.tokens import token_of
from QEfficient.evaluate.data import MASK
from QEfficient.train.labelled import IGNORED

if TYPE_CHECKING:
    from QEfficient.train.features import HeadReader
    from QEfficient.train.labelled import Feature

HIDDEN = 0.15
"""The share of tokens that are to be told: BERT's (Devlin et al., 2019, section 3.1)."""

MASKED, RANDOM = 0.8, 0.1
"""Of these, the shares that become the mask, and any token; the rest stays as it is. Likewise BERT's."""


class MaskedRows(Sequence["Feature"]):
    """Rows of which other tokens are hidden in each epoch: a pure function of seed, epoch and row.

    At least one token of each row is hidden, so that each has a loss. Special tokens never are.

    Args:
        rows: Token ids.
        tokenizer: Says which tokens are special, which is the mask, and how many it knows.
        seed: Of what is hidden: any numbers.
        words: How many tokens the model knows.
    """

    def __init__(self, rows: Sequence[Feature], tokenizer: Any, seed: Sequence[int], words: int) -> None:
        self._rows, self._seed, self._epoch = rows, seed, 0
        self._mask, self._tokens = int(tokenizer.mask_token_id), min(len(tokenizer), words)
        self._special = np.asarray(sorted(tokenizer.all_special_ids))

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, row: Any) -> Any:
        feature = self._rows[row]
        random = np.random.default_rng([*self._seed, self._epoch, row])
        ids = np.asarray(feature["input_ids"])
        may = np.flatnonzero(~np.isin(ids, self._special))
        order = random.permutation(may)
        count = max(1, int(random.binomial(len(may), HIDDEN)))
        hidden = order[:count]
        how = random.random(count)
        labels = np.full_like(ids, IGNORED)
        labels[hidden] = ids[hidden]
        others = random.integers(0, self._tokens, count)
        shown = np.where(how < MASKED, self._mask, np.where(how < MASKED + RANDOM, others, ids[hidden]))
        ids = ids.copy()
        ids[hidden] = shown
        return {**feature, "input_ids": ids.tolist(), "labels": labels.tolist()}

    def begin(self, epoch: int) -> None:
        """Says which epoch it is."""
        self._epoch = epoch


def word_features(reader: HeadReader, columns: Mapping[str, Sequence[Any]], where: str) -> list[Feature]:
    """Token ids of texts: plain ones, for :class:`MaskedRows`, or such with one mask whose word is the label.

    Args:
        reader: Reads the texts.
        columns: With the role ``text``, and ``target`` where each text has one mask.
        where: What an error calls the rows.

    Raises:
        InputError: A model without a mask; a text without a token, or whose mask is past the limit; a word that is no
            single token. It names the row.
    """
    tokenizer = reader.tokenizer
    if tokenizer.mask_token_id is None:
        raise InputError(
            "The tokenizer has no token for a mask.",
            got=type(tokenizer).__name__,
            allowed="a tokenizer of a model that fills masks",
            do="choose such a model",
        )
    return _given(reader, columns, where) if "target" in columns else _plain(reader, columns, where)


def _plain(reader: HeadReader, columns: Mapping[str, Sequence[Any]], where: str) -> list[Feature]:
    special = set(reader.tokenizer.all_special_ids)
    found = reader.texts({"text": columns["text"]})
    for row, feature in enumerate(found):
        if special.issuperset(feature["input_ids"]):
            raise InputError(
                f"A text of the {where} rows has no token that can be hidden.",
                got=f"{columns['text'][row]!r} in row {row}",
                allowed="texts of one word or more that the tokenizer knows",
                do="drop such rows",
            )
    return found


def _given(reader: HeadReader, columns: Mapping[str, Sequence[Any]], where: str) -> list[Feature]:
    tokenizer = reader.tokenizer
    parts = [reader.cased(text.split(MASK)) for text in columns["text"]]
    texts = [tokenizer.mask_token.join(part) for part in parts]
    read = tokenizer(texts, truncation=True, max_length=reader.max_length)
    words = reader.cased(columns["target"])
    found = []
    for row, ids in enumerate(read["input_ids"]):
        if ids.count(tokenizer.mask_token_id) != 1:
            raise InputError(
                f"A text of the {where} rows has no single mask within the model's limit.",
                got=f"{ids.count(tokenizer.mask_token_id)} masks in the first {reader.max_length} tokens of row {row}",
                allowed="one mask a text",
                do="drop this row, or cut the text around its mask",
            )
        target = token_of(tokenizer, words[row], texts[row].startswith(tokenizer.mask_token), row)
        labels = [target if one == tokenizer.mask_token_id else IGNORED for one in ids]
        found.append({name: read[name][row] for name in read} | {"labels": labels})
    return found
