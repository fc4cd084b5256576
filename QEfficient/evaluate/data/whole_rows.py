"""What a row's values must be together, once each is right by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from QEfficient.errors import InputError
from QEfficient.evaluate.data.cells import Cells, refused
from QEfficient.evaluate.data.rankings import collected, ranked_lists

Columns = Mapping[str, Sequence[Any]]


def assemble(task: str, columns: Columns) -> tuple[Columns, tuple[str, ...]]:
    """The roles that a task's rows end up with, and its collection of documents, which only retrieval has.

    Args:
        task: A name of :data:`QEfficient.evaluate.data.roles.TASKS`.
        columns: Role → values, each read by its kind.

    Raises:
        InputError: Values of a row do not fit each other.
    """
    if task == "retrieval":
        return collected(columns)
    if task == "reranking":
        return ranked_lists(columns), ()
    if task == "token-classification":
        _check_lengths(columns)
    elif task == "question-answering":
        columns = _split_answers(columns)
    elif task == "multiple-choice":
        columns = _numbered_choices(columns)
    return columns, ()


def join_clusters(queries: Sequence[str], clusters: Sequence[Any]) -> list[Any]:
    """The clusters of distinct queries, in their order, of rows in which a query may stand several times.

    Raises:
        InputError: Rows of one query are of two clusters.
    """
    first: dict[str, Any] = {}
    odd = [row for row, query in enumerate(queries) if first.setdefault(query, clusters[row]) != clusters[row]]
    if odd:
        cells = Cells("cluster", "cluster", clusters)
        raise refused(cells, odd, "is another one than before for the same query", "one cluster a query", "mend these")
    return list(first.values())


def _check_lengths(columns: Columns) -> None:
    tokens, tags = columns["tokens"], columns["tags"]
    if odd := [row for row, words in enumerate(tokens) if len(words) != len(tags[row])]:
        row = odd[0]
        what = f"are not as many as the tokens ({len(tags[row])} and {len(tokens[row])} in row {row})"
        raise refused(Cells("tags", "tags", tags), odd, what, "one tag a token", "check how the text was split")


def _split_answers(columns: Columns) -> Columns:
    """Answers and where they start in two columns; starts only if every row with answers has them."""
    answers = columns["answers"]
    pairs = [row for row in answers if row and isinstance(row[0], tuple)]
    texts = [[one[0] if isinstance(one, tuple) else one for one in row] for row in answers]
    split = {**columns, "answers": texts}
    if pairs and len(pairs) == sum(map(bool, answers)):
        split["starts"] = [[start for _, start in row] for row in answers]
    return split


def _numbered_choices(columns: Columns) -> Columns:
    """The right choice by its position, where the data names it by the choices' own keys."""
    choices = [row[1] if isinstance(row, tuple) else row for row in columns["choices"]]
    keys = [row[0] if isinstance(row, tuple) else None for row in columns["choices"]]
    found = [_position(label, keys[row], len(choices[row])) for row, label in enumerate(columns["label"])]
    if odd := [row for row, place in enumerate(found) if place is None]:
        row = odd[0]
        raise InputError(
            "The label is none of the choices.",
            got=f"row {row} (from 0): {columns['label'][row]!r}; it has {len(choices[row])} choices",
            allowed="the position of the right choice, from 0"
            + (f", or one of the keys {', '.join(map(repr, keys[row] or ()))}" if keys[row] else ""),
            do="number the choices from 0",
        )
    return {**columns, "choices": choices, "label": found}


def _position(label: int | str, keys: Sequence[Any] | None, count: int) -> int | None:
    named = [str(key) for key in keys or ()]
    if str(label) in named:  # ARC's keys are letters in most rows, and numbers from 1 in others
        return named.index(str(label))
    return label if isinstance(label, int) and not keys and label < count else None
