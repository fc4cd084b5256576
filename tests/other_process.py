"""What child processes run with a model that was pickled to them; light, as they import it."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from QEfficient.errors import DeviceError

TEXTS = ["A cup of tea.", "My name is", "x"]


def encoded(model: Any) -> tuple[NDArray[np.float32], int, bool]:
    """Vectors, the limit that the object carries, and whether torch had to be imported."""
    return model.encode(TEXTS), model.max_seq_length, "torch" in sys.modules


def refused(model: Any) -> object:
    """An error of ours, raised there."""
    return model.encode([3])


def failed(_: object) -> None:
    """One with a value that can't be pickled, and a status beside it."""
    raise DeviceError("It failed.", got=lambda: None, status="QS_TIMEDOUT", do="wait")
