"""What must hold of rows, whatever is trained on them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from QEfficient.errors import InputError

if TYPE_CHECKING:
    from QEfficient.evaluate.record import Examples


def check_rows(train: Examples, held_out: Examples | None) -> None:
    """Refuses what can't be trained on.

    Raises:
        InputError: There are no rows, or those that are held out are for another task.
    """
    for examples, what in ((train, "train on"), (held_out, "hold out")):
        if examples is not None and not len(examples):
            raise InputError(f"There are no rows to {what}.", got="0 rows", allowed="rows", do="pass some")
    if held_out is not None and held_out.task != train.task:
        raise InputError(
            "The held-out rows are for another task.",
            got=f"{held_out.task!r} beside {train.task!r}",
            allowed="rows for the same task",
            do="read both for one task",
        )
