"""Labels of a data set → a model's own, by name or by position."""

from __future__ import annotations

from collections.abc import Sequence

from QEfficient.arguments import whole
from QEfficient.errors import InputError, nearest


def positions(
    labels: Sequence[object], names: Sequence[str], model: str, *, row: int | None = None, called: Sequence[str] = ()
) -> list[int]:
    """Where each label stands among the model's.

    Args:
        labels: Names, or positions.
        names: The model's labels.
        model: Its name, for the error.
        row: The row that all these labels belong to; left out, the first one is row 0's, and so on.
        called: What positions stand for in the data, where it says so. The model may have the same labels in another
            order: if it knows one of these names, they count, and positions do not.

    Raises:
        InputError: The model has no such label; names the row.
    """
    known = {name.casefold(): place for place, name in reversed(list(enumerate(names)))}
    known |= {name: place for place, name in enumerate(names)}
    by_name = any(name in known or name.casefold() in known for name in called)
    found = []
    for number, label in enumerate(labels):
        place = whole(label)
        if by_name and place is not None and 0 <= place < len(called):
            label = called[place]
        elif place is not None:
            place = known.get(str(place), place)  # a model of stars may call its first label "1"
        if isinstance(label, str):
            place = known.get(label, known.get(label.casefold()))
        if place is None or not 0 <= place < len(names):
            raise InputError(
                f"The model {model!r} has no such label.{nearest(str(label), list(names))}",
                got=f"row {number if row is None else row}: {label!r}",
                allowed=f"{', '.join(names[:8])}{', …' if len(names) > 8 else ''}, or a position below {len(names)}",
                do="rename the labels of the data, or take a model that was trained on these labels",
            )
        found.append(place)
    return found
