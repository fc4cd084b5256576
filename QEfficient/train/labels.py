"""Labels of rows: which number each has in the model. What does not fit is refused before anything is trained."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from QEfficient import arguments
from QEfficient.errors import InputError, nearest
from QEfficient.train.request import ClassWeights

_UNNAMED = re.compile(r"LABEL_\d+")
"""What transformers calls a label that nobody has named."""


@dataclass(frozen=True, slots=True)
class Labels:
    """The labels of a model, by position.

    Attributes:
        names: The model's.
        called: What whole numbers stand for in the rows, where they say so. The model may have the same names in
            another order, so these count and the numbers do not.
    """

    names: tuple[str, ...]
    called: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.names)

    def of_rows(self, called: Sequence[str]) -> Labels:
        """The same labels, for rows of a data set that has names of its own.

        Args:
            called: What whole numbers stand for in it; nothing, or the numbers themselves: it does not say. They do
                not count where the model's labels have no names.
        """
        return Labels(self.names, () if _are_numbers(called) or not _named(self.names) else tuple(called))

    def position(self, label: object, row: int, where: str) -> int:
        """The number of a label.

        Args:
            label: Its name or its number.
            row: Where it stands, for the error.
            where: Of which rows.

        Raises:
            InputError: The model has no such label.
        """
        number = arguments.whole(label)
        if number is not None and 0 <= number < len(self.called):
            label, number = self.called[number], None
        place = self._place(str(label))
        if place is None and number is not None and 0 <= number < len(self) and not self._named_by_numbers():
            place = number
        if place is not None:
            return place
        what = "out of range" if number is not None else "none of the model's"
        raise InputError(
            f"A label of the {where} rows is {what}.{nearest(str(label), self.names)}",
            got=f"{label!r} in row {row}",
            allowed=f"one of {', '.join(map(repr, self.names[:20]))}"
            + ("" if self._named_by_numbers() else f", or its number from 0 to {len(self) - 1}"),
            do="correct the labels, or load the model with from_pretrained(…, num_labels=…) for as many as there are",
        )

    def _place(self, name: str) -> int | None:
        """Where a name stands: as it is written, else in other cases."""
        if name in self.names:
            return self.names.index(name)
        folded = [one.casefold() for one in self.names]
        return folded.index(name.casefold()) if name.casefold() in folded else None

    def _named_by_numbers(self) -> bool:
        """Whether a number that is no name is none of the labels: stars from 1 to 5 have no 0."""
        return all(name.isdecimal() for name in self.names)


def _named(names: Iterable[str]) -> bool:
    """Whether somebody has named the labels of a model."""
    return not all(_UNNAMED.fullmatch(name) for name in names)


def _are_numbers(names: Sequence[str]) -> bool:
    """Whether names say nothing but the number that each has."""
    return all(name == str(number) for number, name in enumerate(names))


def labels_of(values: Iterable[object], config: Any, given: Sequence[str] = ()) -> Labels:
    """The labels of a model that is to be trained on rows.

    Names that the model's config has stay, and the rows' own names are found among them. A config without names takes
    those that the data set says, else those of the rows, sorted.

    Args:
        values: The label of each row, or of each token: names or numbers. All of them.
        config: Of the model, in transformers' form.
        given: What whole numbers stand for, where the data set says it.

    Raises:
        InputError: There is one label only, or more than the model has.
    """
    seen = list(dict.fromkeys(values))
    known = tuple(str(config.id2label[number]) for number in range(config.num_labels))
    if len(seen) < 2:
        raise InputError(
            "All rows have the same label, so there is nothing to learn.",
            got=f"{seen[0]!r} throughout" if seen else "no label",
            allowed="rows of two labels or more",
            do="add rows of other labels; for one number a row, pass task='regression'",
        )
    many = given if len(given) > len(seen) else sorted(map(str, seen))
    if len(many) > len(known):
        shown = ", ".join(map(repr, many[:8]))
        raise InputError(
            "The rows have more labels than the model.",
            got=f"{len(many)} labels ({shown}{', …' if len(many) > 8 else ''}) for a model with {len(known)}",
            allowed=f"at most {len(known)} labels",
            do=f"load the model with from_pretrained(…, num_labels={len(many)})",
        )
    named = _named(known)
    if given and not named:
        return Labels((*given, *known[len(given) :]))
    if named or all(arguments.whole(label) is not None or str(label) in known for label in seen):
        return Labels(known)
    names = sorted(str(label) for label in seen)
    return Labels((*names, *known[len(names) :]))


def numbers(values: Sequence[object], where: str) -> list[float]:
    """One number a row.

    Raises:
        InputError: One is none, or NaN, or infinite.
    """
    found = []
    for row, value in enumerate(values):
        if not arguments.is_number(value) or not math.isfinite(float(value)):  # type: ignore[arg-type]
            raise InputError(
                f"A score of the {where} rows is no finite number.",
                got=f"{value!r} in row {row}",
                allowed="a number a row",
                do="drop such rows, or correct them",
            )
        found.append(float(value))  # type: ignore[arg-type]
    return found


def weights_of(wanted: ClassWeights, labels: Labels, positions: Iterable[int]) -> list[float]:
    """The weight of each label.

    Args:
        wanted: As the request has it: label → weight, else it is ``"balanced"``.
        labels: Of the model.
        positions: The label of each row to train on, by number; negative ones do not count.

    Raises:
        InputError: A weight is for a label that the model has not.
    """
    if isinstance(wanted, Mapping):
        found = [1.0] * len(labels)
        for label, weight in wanted.items():
            known = int(label) if label.isdecimal() and label not in labels.names else label
            found[labels.position(known, 0, "class_weights'")] = weight
        return found
    counts = Counter(position for position in positions if position >= 0)
    total = sum(counts.values())
    return [total / (len(counts) * counts[position]) if counts[position] else 1.0 for position in range(len(labels))]
