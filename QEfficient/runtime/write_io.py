"""Writes one inference's arrays as the SDK's runner reads them: raw files and its batch-input JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

BATCH_FILE = "batch_io.json"


def write_io(folder: Path, inputs: Mapping[str, NDArray[Any]], outputs: Mapping[str, NDArray[Any]]) -> Path:
    """Writes ``<name>.raw`` for every array, C order, and the JSON that names them.

    ``qaic-runner --aic-batch-json-input`` takes the JSON; paths in it are relative to ``folder``.

    Args:
        folder: Made if it is not there. Files of the same names are replaced.
        inputs: Name → array.
        outputs: Name → array.

    Returns:
        The JSON file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    entries = []
    for direction, arrays in (("in", inputs), ("out", outputs)):
        for name, array in arrays.items():
            raw = re.sub(r"[^\w.-]", "_", name) + ("" if direction == "in" or name not in inputs else ".out") + ".raw"
            (folder / raw).write_bytes(np.ascontiguousarray(array).tobytes())
            entries.append(
                {
                    "path": raw,
                    "io-direction": direction,
                    "elem-size": array.dtype.itemsize,
                    "map-to": name,
                    "dims": list(array.shape) or [1],
                }
            )
    path = folder / BATCH_FILE
    path.write_text(json.dumps({"IO-files": [entries]}, indent=2) + "\n", encoding="utf-8")
    return path
