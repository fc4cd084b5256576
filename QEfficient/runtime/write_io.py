"""Writes the arrays of inferences as the SDK's runner reads them: raw files and its batch-input JSON."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from QEfficient.backends.base import Arrays, Carrying, Session
from QEfficient.cache.disk import disk_errors
from QEfficient.records import Json

BATCH_FILE = "batch_io.json"


class InferenceFiles:
    """``<name>-<inference>.raw`` for every array, C order, and the JSON that lists them all.

    ``qaic-runner --aic-batch-json-input`` takes the JSON; paths in it are relative to the folder. Each inference must
    have the shapes that it ran with: the runner takes those that the program was compiled for, and no others.

    Args:
        folder: Made with the first array. Files of the same names are replaced. It is removed where not all can be
            written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._inferences: list[list[Json]] = []

    def add(self, inputs: Mapping[str, NDArray[Any]], outputs: Mapping[str, NDArray[Any]]) -> None:
        """Writes one inference's arrays, name → array.

        Raises:
            CacheError: The disk is full or can't be written.
        """
        with self._whole_or_nothing():
            self._inferences.append(self._write(inputs, outputs))

    def _write(self, inputs: Mapping[str, NDArray[Any]], outputs: Mapping[str, NDArray[Any]]) -> list[Json]:
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
        return entries

    def close(self) -> Path:
        """Writes the JSON, and returns its path.

        Raises:
            CacheError: The disk is full or can't be written.
        """
        path = self.folder / BATCH_FILE
        with self._whole_or_nothing():
            self.folder.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps({"IO-files": self._inferences}, indent=2) + "\n", encoding="utf-8")
        return path

    @contextmanager
    def _whole_or_nothing(self) -> Iterator[None]:
        with disk_errors("The inferences' arrays can't be written.", self.folder):
            try:
                yield
            except BaseException:
                shutil.rmtree(self.folder, ignore_errors=True)
                raise


def as_carried(session: Session, record: Callable[[Arrays, Arrays], None]) -> Callable[[Arrays, Arrays], None]:
    """Hands ``record`` each array in the dtype in which the program itself has it: with custom I/O that is another."""
    if not isinstance(session, Carrying):
        return record
    dtypes = session.carried

    def of(arrays: Arrays) -> Arrays:
        return {name: array.astype(dtypes.get(name, array.dtype), copy=False) for name, array in arrays.items()}

    return lambda inputs, outputs: record(of(inputs), of(outputs))
