"""The texts that a teacher is asked about: strings, or the texts of rows of any kind."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any

from QEfficient import arguments
from QEfficient.errors import InputError
from QEfficient.evaluate.data.cells import Cells
from QEfficient.evaluate.data.columns import Wanted, check_roles, find_columns
from QEfficient.evaluate.data.digest import digest_of
from QEfficient.evaluate.data.roles import CLUSTER, TASKS, DataTask
from QEfficient.evaluate.data.sources import table_of
from QEfficient.evaluate.data.values import KINDS
from QEfficient.evaluate.record import Examples

TASK = "distillation"
"""What such rows are for. It is no task of evaluation: there is nothing right or wrong about them."""

_SIDES = TASKS["regression"]  # its pair may be left out
_TEXTS = DataTask(TASK, (_SIDES.role("text"), _SIDES.role("pair")))
_ASKED = TASKS["question-answering"]
_QUESTIONS = DataTask(_ASKED.name, (_ASKED.role("question"), _ASKED.role("context")))
_LISTS = ("documents", "choices")


def read_texts(data: object, columns: Wanted | None = None) -> Examples:
    """Texts as rows with the one role ``text``, each text once, in the order in which they come.

    >>> read_texts(["a cat", "a dog", "a cat"]).columns
    {'text': ['a cat', 'a dog']}

    Args:
        data: Strings; rows of any kind with a column of texts; or examples that were read for a task, whose texts are
            taken and whose labels are not.
        columns: Role (``"text"``, ``"pair"``) → name of its column, where it is none that people use.

    Raises:
        InputError: There are no texts, or a value is none.
    """
    if isinstance(data, Examples):
        name, texts = data.name, _of_examples(data)
    else:
        found, name = _read(data, columns)
        texts = [text for values in found.values() for text in values]
    return _examples({"text": list(dict.fromkeys(texts))}, name)


def text_columns(columns: Wanted | None) -> Wanted | None:
    """What a caller says of columns of texts, where it may be about held-out rows of a task too.

    >>> text_columns({"text": "body", "label": "stars"})
    {'text': 'body'}

    Args:
        columns: Role → column, of any task.

    Returns:
        The roles that :func:`read_texts` takes; ``None`` where these are not named.

    Raises:
        UsageError: No task has such a role.
    """
    known = dict.fromkeys(role.name for task in TASKS.values() for role in (*task.roles, CLUSTER))
    check_roles(columns, list(known), "Data")
    return {role: name for role, name in (columns or {}).items() if role in ("text", "pair")} or None


def read_rows(data: object, columns: Wanted | None = None) -> Examples:
    """Texts, or pairs of texts, as rows with the roles ``text`` and ``pair``, as they come.

    Args:
        data: As for :func:`read_texts`, but for examples.
        columns: Likewise.

    Raises:
        InputError: As there.
    """
    return _examples(*_read(data, columns))


def read_questions(data: object, columns: Wanted | None = None) -> Examples:
    """Questions and their contexts, as rows of question answering without answers.

    Args:
        data: Rows of any kind with columns of both.
        columns: Role (``"question"``, ``"context"``) → name of its column, where it is none that people use.

    Raises:
        InputError: There are none, or a value is none.
    """
    table = table_of(data)
    places = find_columns(table, _QUESTIONS, columns) if table.rows else {}
    found = {role: _of_column(table, role, column) for role, [column] in places.items()}
    return dataclasses.replace(_examples(found, table.source), task=_QUESTIONS.name)


def pairs_of(ranked: Examples) -> Examples:
    """Queries with each of their documents, as pairs; their grades are left out."""
    queries, documents = ranked.columns["query"], ranked.columns["documents"]
    pairs = [(query, document) for query, own in zip(queries, documents, strict=True) for document in own]
    return _examples({"text": [query for query, _ in pairs], "pair": [document for _, document in pairs]}, ranked.name)


def _read(data: object, columns: Wanted | None) -> tuple[dict[str, Sequence[str]], str]:
    """Role → its values, and what they came from."""
    if columns is None and holds_strings(data):
        texts = arguments.strings("data", data)
        return {"text": texts}, f"list of {len(texts)} texts"
    table = table_of(data)
    if not table.rows:
        return {"text": ()}, table.source
    places = find_columns(table, _TEXTS, columns)
    return {role: _of_column(table, role, column) for role, [column] in places.items()}, table.source


def _examples(columns: dict[str, Sequence[str]], name: str) -> Examples:
    texts = [text for values in columns.values() for text in values]
    empty = not all(text.strip() for text in texts)
    if not texts or empty:
        raise InputError(
            "A text is empty." if empty else "There are no texts.",
            got=name,
            allowed="texts of one word or more",
            do="drop such texts" if empty else "pass some",
        )
    return Examples(TASK, columns, digest=digest_of(columns), name=name)


def holds_strings(data: Any) -> bool:
    """Whether it is a list of strings, or one column: what has names of columns is a table."""
    if isinstance(data, (str, os.PathLike, Mapping)):
        return False
    if any(hasattr(data, name) for name in ("columns", "column_names", "collect_schema")):
        return False
    if not isinstance(data, (list, tuple)):
        return True
    return not data or not isinstance(data[0], (Mapping, list, tuple))


def _of_column(table: Any, role: str, column: str) -> Sequence[str]:
    found: Sequence[str] = KINDS["text"](Cells(role, column, table.read(column), table.written))
    return found


def _of_examples(examples: Examples) -> list[str]:
    """Every text, whatever it is for; a list of words is none."""
    texts = list(examples.corpus)
    for role, values in examples.columns.items():
        if role in _LISTS:
            texts += [text for row in values for text in row]
        elif values and all(isinstance(value, str) for value in values) and role not in ("label", "target"):
            texts += values
    return texts
