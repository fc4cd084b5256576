"""What the checks of ids, images and clips refuse alike, each said once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from QEfficient.errors import InputError

SHOWN = 8  # rows, or ids, that an error lists


def listed(found: Sequence[str], joint: str = ", and") -> str:
    """The first of what is wrong, and how many more there are."""
    return ", ".join(found[:SHOWN]) + (f"{joint} {len(found) - SHOWN} more" if len(found) > SHOWN else "")


def rows_where(bad: NDArray[np.bool_]) -> str:
    """``"rows 3, 5"``: those that hold a bad value."""
    rows = np.unique(np.nonzero(bad)[0]).tolist()
    return f"rows {listed([str(row) for row in rows], ' and')}"


def missing(names: Sequence[str], given: Iterable[str], allowed: str, do: str) -> InputError:
    """Inputs that the graph needs were not given."""
    return InputError(f"{', '.join(names)} is missing.", got=", ".join(given) or "no inputs", allowed=allowed, do=do)


def wrong_dtype(name: str, kind: str, dtype: object, allowed: str, do: str) -> InputError:
    """An array holds numbers of another kind."""
    return InputError(f"{name} does not hold {kind}.", got=f"dtype {dtype}", allowed=allowed, do=do)


def negative(name: str, got: str, then: str = "") -> InputError:
    """Ids below 0, which no table has; ``then``: what else to do about fill values."""
    do = f"replace fill values such as -100 by the tokenizer's pad id{then}"
    return InputError(f"{name} holds negative values.", got=got, allowed="0 or more", do=do)


def too_long(what: str, rows: Sequence[str], allowed: str, do: str) -> InputError:
    """Rows longer than the model or its largest bucket."""
    return InputError(f"{what}.", got=listed(rows), allowed=f"at most {allowed}", do=do)
