"""The texts that a masked language model is trained on: plain ones, or such with a mask and the word behind it."""

from __future__ import annotations

from collections.abc import Iterator

from QEfficient.errors import InputError, UsageError
from QEfficient.evaluate.data import read_examples
from QEfficient.evaluate.data.columns import Wanted, find_columns
from QEfficient.evaluate.data.roles import MASKS, TASKS
from QEfficient.evaluate.data.sources import table_of
from QEfficient.evaluate.record import Examples
from QEfficient.train.distill_texts import holds_strings, read_rows

TASK = "fill-mask"


def read_mask_texts(data: object, columns: Wanted | None = None) -> Examples:
    """Rows of fill-mask: with the one role ``text``, or with ``text`` and ``target`` where texts have masks.

    >>> read_mask_texts(["a cat", "a dog"]).columns
    {'text': ['a cat', 'a dog']}
    >>> read_mask_texts([{"text": "a [MASK]", "target": "cat"}]).columns
    {'text': ['a [MASK]'], 'target': ['cat']}

    Args:
        data: Strings, or rows of any kind with a column of texts; with a column of words too, and a mask in the texts,
            these words are learnt and no others.
        columns: Role (``"text"``, ``"target"``) → name of its column, where it is none that people use.

    Raises:
        InputError: There are no texts, or a value is none.
        UsageError: A column is not there.
    """
    if isinstance(data, Examples):
        return data
    if isinstance(data, Iterator):
        data = list(data)
    if _has_masks(data, columns):
        return read_examples(data, TASK, columns)
    read = read_rows(data, columns)
    if "pair" in read.columns:
        raise InputError(
            "Masked language modelling reads one text a row.",
            got="two columns of texts",
            allowed="one",
            do='name it: columns={"text": …, "pair": None}',
        )
    return Examples(TASK, read.columns, digest=read.digest, name=read.name)


def _has_masks(data: object, columns: Wanted | None) -> bool:
    if columns is not None and "target" in columns:
        return columns["target"] is not None
    if holds_strings(data):
        return False
    table = table_of(data)
    try:
        [text] = find_columns(table, TASKS[TASK], columns)["text"]
    except (UsageError, InputError):  # no column of words
        return False
    return any(mask in str(value) for value in table.read(text) for mask in MASKS)
