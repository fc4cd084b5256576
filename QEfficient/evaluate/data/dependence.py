"""Which rows share texts, and whether there is anything to tell apart."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from QEfficient.errors import InputError
from QEfficient.evaluate.record import Examples


def text_pairs(examples: Examples) -> NDArray[np.intp] | None:
    """Which two texts each row holds.

    Pairs that share a text are not independent: an interval draws texts, not pairs.

    Args:
        examples: A data set whose rows have a ``text`` and a ``pair``.

    Returns:
        ``(rows, 2)``: the texts by number, from 0 in the order in which they come. ``None`` where no text stands in two
        rows, or rows have one text.
    """
    if "pair" not in examples.columns:
        return None
    rows = list(zip(examples.columns["text"], examples.columns["pair"], strict=True))
    numbers: dict[str, int] = {}
    pairs = [[numbers.setdefault(text, len(numbers)) for text in row] for row in rows]
    shared = len(numbers) < sum(len(set(row)) for row in rows)
    return np.array(pairs, np.intp) if shared else None


def check_classes(examples: Examples) -> None:
    """Refuses a data set that tells nothing apart: one label or tag in all rows, or one score.

    For training: a model that always gives the same answer would be right on it.

    Raises:
        InputError: It is one.
    """
    for role in ("label", "labels", "tags", "score"):
        values = examples.columns.get(role)
        if values is None or (role == "label" and "choices" in examples.columns):
            continue
        if role == "tags":
            values = [tag for row in values for tag in row]
        distinct = {tuple(value) if isinstance(value, list) else value for value in values}
        if len(distinct) < 2:
            raise InputError(
                f"All rows have the same {role}.",
                got=f"{examples.name}: {next(iter(distinct))!r} only",
                allowed="two different ones or more",
                do="check the column, and whether the rows were sorted before they were cut",
            )
