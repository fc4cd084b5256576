"""The arrays that ``generate`` is given and gives back."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from QEfficient.errors import InputError
from QEfficient.records import RowRules, Rows, Shape, TensorSpec
from QEfficient.runtime.rows import from_arrays
from QEfficient.runtime.signals import from_signals, has_signals
from QEfficient.runtime.write_io import InferenceFiles

FLOATS = ("float32", "float16", "float64")


def result_dtype(dtype: Any) -> np.dtype[Any]:
    """A float dtype given as a name, a numpy or a torch dtype."""
    name = "float32" if dtype is None else str(dtype).removeprefix("torch.")
    if isinstance(dtype, (type, np.dtype)):
        name = np.dtype(dtype).name
    if name not in FLOATS:
        raise InputError(
            "generate returns floats that numpy knows.",
            got=f"dtype={dtype!r}",
            allowed=", ".join(FLOATS),
            do="leave dtype out for float32",
        )
    return np.dtype(name)


def reader(
    specs: Sequence[TensorSpec], *, rules: RowRules, max_length: int | None = None, buckets: Sequence[Shape] = ()
) -> Callable[[Any], Rows]:
    """What makes checked rows of a graph's inputs: token ids as ``runtime.rows``, all else as ``runtime.signals``."""
    read: Callable[..., Rows] = from_signals if has_signals(specs) else from_arrays
    return partial(read, specs=specs, max_length=max_length, buckets=buckets, rules=rules)


def inference_files() -> InferenceFiles:
    """Files for one call's arrays, in a new folder below the working directory."""
    stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S-%f")
    return InferenceFiles(Path.cwd() / "io_dir" / stamp)
