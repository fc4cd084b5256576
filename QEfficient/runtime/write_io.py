"""Writes the arrays of inferences as the SDK's runner reads them: raw files and its batch-input JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from QEfficient.records import Json

BATCH_FILE = "batch_io.json"


class InferenceFiles:
    """``<name>-<inference>.raw`` for every array, C order, and the JSON that lists them all.

    ``qaic-runner --aic-batch-json-input`` takes the JSON; paths in it are relative to the folder. Each inference must
    have the shapes that it ran with: the runner takes those that the program was compiled for, and no others.

    Args:
        folder: Made with the first array. Files of the same names are replaced.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._inferences: list[list[Json]] = []

    def add(self, inputs: Mapping[str, NDArray[Any]], outputs: Mapping[str, NDArray[Any]]) -> None:
        """Writes one inference's arrays, name → array."""
        self.folder.mkdir(parents=True, exist_ok=True)
        entries: list[Json] = []
        for direction, arrays in (("in", inputs), ("out", outputs)):
            for name, array in arrays.items():
                safe = re.sub(r"[^\w.-]", "_", name) + (".out" if direction == "out" and name in inputs else "")
                raw = f"{safe}-{len(self._inferences)}.raw"
                (self.folder / raw).write_bytes(array.tobytes())
                entries.append(
                    {
                        "path": raw,
                        "io-direction": direction,
                        "elem-size": array.dtype.itemsize,
                        "map-to": name,
                        "dims": list(array.shape) or [1],
                    }
                )
        self._inferences.append(entries)

    def close(self) -> Path:
        """Writes the JSON, and returns its path."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / BATCH_FILE
        path.write_text(json.dumps({"IO-files": self._inferences}, indent=2) + "\n", encoding="utf-8")
        return path
