"""What the values of each kind of role are: read, and refused by row before anything runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from QEfficient.arguments import is_number
from QEfficient.evaluate.data.cells import UNFIT, Cells, items, plain, read_each, scalar, structure
from QEfficient.evaluate.data.images import read_images
from QEfficient.evaluate.data.labels import read_labels, read_multi, read_tags
from QEfficient.evaluate.data.roles import MASK, MASKS
from QEfficient.evaluate.data.sound import read_audio

_CLEAN = "drop these rows, or fill them, before you pass the data"


def _texts(cells: Cells) -> list[str]:
    def read(value: Any) -> Any:
        value = scalar(cells, value)
        return value if isinstance(value, str) and value.strip() else UNFIT

    return read_each(cells, read, "is no text, or an empty one,", "strings that are not empty", _CLEAN)


def _texts_or_empty(cells: Cells) -> list[str]:
    def read(value: Any) -> Any:
        value = plain(value)
        return value if isinstance(value, str) else UNFIT

    return read_each(cells, read, "is no text", "strings", _CLEAN)


def _scores(cells: Cells) -> list[float]:
    def read(value: Any) -> Any:
        found = number(_number_in(cells, value))
        return UNFIT if found is None else found

    return read_each(cells, read, "is no finite number", "numbers; no NaN, no infinity, no text", _CLEAN)


def _grades(cells: Cells) -> list[float]:
    def read(value: Any) -> Any:
        found = grade(_number_in(cells, value))
        return UNFIT if found is None else found

    return read_each(cells, read, "is no grade", "numbers from 0 (not relevant) on", _CLEAN)


def _grade_lists(cells: Cells) -> list[list[float]]:
    def read(value: Any) -> Any:
        found = items(cells, value)
        grades = None if found is None else [grade(item) for item in found]
        return UNFIT if not grades or None in grades else grades

    what = "are no list of grades"
    return read_each(cells, read, what, "a list of numbers from 0 on a row, as many as documents", _CLEAN)


def _document_lists(cells: Cells) -> list[list[str]]:
    def read(value: Any) -> Any:
        if isinstance(value, str) and value and isinstance(structure(cells, value), str):
            return [value]
        found = items(cells, value)
        return UNFIT if found is None or not all(isinstance(item, str) for item in found) else found

    return read_each(cells, read, "are no texts", "a list of strings a row, or one string", _CLEAN)


def _words(cells: Cells) -> list[list[str]]:
    def read(value: Any) -> Any:
        found = items(cells, value)
        return found if found and all(isinstance(item, str) and item for item in found) else UNFIT

    do = "split texts into words first: text.split(); drop rows and words that are empty"
    return read_each(cells, read, "are no words", "a list of strings a row, none of them empty", do)


def _answers(cells: Cells) -> list[Any]:
    """Either lists of strings, or SQuAD's mappings with starts as lists of ``(answer, start)``."""

    def read(value: Any) -> Any:
        value = structure(cells, value)
        if isinstance(value, str):
            return [value] if value.strip() else []
        if isinstance(value, Mapping) and "text" in value:
            texts, starts = items(cells, value["text"]), items(cells, value.get("answer_start", ()))
        else:
            texts, starts = items(cells, value), []
        if texts and all(isinstance(item, Mapping) for item in texts):  # SQuAD's own files: a mapping an answer
            texts, starts = [item.get("text") for item in texts], [item.get("answer_start") for item in texts]
            starts = [] if None in starts else starts
        if texts is None or starts is None or not all(isinstance(text, str) and text.strip() for text in texts):
            return UNFIT
        if starts and (len(starts) != len(texts) or not all(type(start) is int and start >= 0 for start in starts)):
            return UNFIT
        return list(zip(texts, starts, strict=True)) if starts else texts

    allowed = 'SQuAD\'s {"text": […], "answer_start": […]}, a list of strings, or one string; empty: no answer'
    return read_each(cells, read, "are no answers", allowed, "pass [] where the context holds no answer")


def _masked(cells: Cells) -> list[str]:
    def read(value: Any) -> Any:
        value = scalar(cells, value)
        if not isinstance(value, str) or sum(value.count(mask) for mask in MASKS) != 1:
            return UNFIT
        return value.replace(MASKS[1], MASK)

    allowed = f"strings with {' or '.join(MASKS)} in them, once"
    return read_each(cells, read, "is no text with one mask", allowed, f'put "{MASK}" where the target is missing')


def _choices(cells: Cells) -> list[Any]:
    """Lists of strings; where choices have keys of their own, as ARC's do, a pair of the keys and these."""

    def read(value: Any) -> Any:
        value, keys = structure(cells, value), None
        if isinstance(value, Mapping) and "text" in value:
            keys, value = items(cells, value.get("label", ())), value["text"]
        found = items(cells, value)
        if not found or len(found) < 2 or not all(isinstance(item, str) and item for item in found):
            return UNFIT
        if keys and len(keys) != len(found):
            return UNFIT
        return (keys, found) if keys else found

    return read_each(cells, read, "are no choices", "a list of two strings or more a row", _CLEAN)


def _choice(cells: Cells) -> list[int | str]:
    """Positions, or the keys of choices; numbers written as text, as HellaSwag has them, are positions."""

    def read(value: Any) -> Any:
        value = scalar(cells, value)
        if isinstance(value, str) and value.strip():
            return int(value) if value.strip().isdecimal() else value
        return value if type(value) is int and value >= 0 else UNFIT

    return read_each(cells, read, "is no choice", "the position of the right choice, from 0", _CLEAN)


def _clusters(cells: Cells) -> list[int | str]:
    def read(value: Any) -> Any:
        value = scalar(cells, value)
        return value if isinstance(value, str) or type(value) is int else UNFIT

    return read_each(cells, read, "is no name and no number", "a string or a whole number a row", _CLEAN)


def number(value: Any) -> float | None:
    """A finite number as a float; ``None`` for all else, a bool too."""
    try:
        found = float(value) if is_number(value) else math.nan
    except OverflowError:  # an int beyond a float's range
        return None
    return found if math.isfinite(found) else None


def grade(value: Any) -> float | None:
    """How relevant a document is: a number from 0 on, whole ones as ints; a bool counts as 0 or 1."""
    found = number(int(value) if isinstance(value, bool) else value)
    if found is None or found < 0:
        return None
    return int(found) if found == int(found) else found


def _number_in(cells: Cells, value: Any) -> Any:
    """A cell of a text file as a number, where it is one."""
    value = scalar(cells, value)
    if not cells.written or value is None:
        return value
    try:
        return float(value)
    except ValueError:
        return value


KINDS: dict[str, Callable[[Cells], list[Any]]] = {
    "text": _texts,
    "transcript": _texts_or_empty,  # of silence
    "document": _texts_or_empty,  # known collections hold empty ones
    "score": _scores,
    "grade": _grades,
    "grades": _grade_lists,
    "documents": _document_lists,
    "label": read_labels,
    "labels": read_multi,
    "words": _words,
    "tags": read_tags,
    "answers": _answers,
    "masked": _masked,
    "choices": _choices,
    "choice": _choice,
    "image": read_images,
    "audio": read_audio,
    "cluster": _clusters,
}
"""A kind of values → what reads them."""

LISTS = frozenset({"choices", "labels", "documents", "words"})
"""Kinds whose values are lists, which may be given as several columns."""
