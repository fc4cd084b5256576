"""What must hold of rows, whatever is trained on them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from QEfficient.errors import InputError, UsageError

if TYPE_CHECKING:
    from QEfficient.evaluate.record import Examples
    from QEfficient.train.request import TrainRequest


def check_rows(train: Examples, held_out: Examples | None, request: TrainRequest) -> None:
    """Refuses what can't be trained on.

    Args:
        train: The rows.
        held_out: Those that are held out.
        request: How to train.

    Raises:
        InputError: There are no rows, or those that are held out are for another task.
        UsageError: The loss on held-out rows is to stop the training, and there are none.
    """
    if request.early_stopping is not None and held_out is None:
        raise UsageError(
            "early_stopping looks at the loss on held-out rows, and there are none.",
            got=f"early_stopping={request.early_stopping}",
            allowed="held-out rows beside those to train on",
            do="pass eval=…, or drop early_stopping",
        )
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
