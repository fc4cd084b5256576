"""Grids and codes of matrices that were rounded with more to go by than their numbers, in files: one is in memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from QEfficient.compress.grid import Codes, Grid


class RoundedWeights:
    """Matrices by the names of their weights, ``(outputs, inputs)`` each.

    Args:
        folder: An empty folder of one's own, which has to be there as long as this is read.
        bits: Of a code.
    """

    def __init__(self, folder: Path, bits: int) -> None:
        self._folder, self.bits = folder, bits
        self._places: dict[str, int] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._places

    def __len__(self) -> int:
        return len(self._places)

    def keep(self, name: str, grid: Grid, codes: Codes) -> None:
        """Writes what was found for a weight."""
        place = self._places.setdefault(name, len(self._places))
        for what, part in (("step", grid.step), ("zero", grid.zero), ("codes", codes)):
            np.save(self._file(place, what), part)

    def grid(self, name: str) -> Grid:
        """The grid of a weight's groups of inputs."""
        place = self._places[name]
        return Grid(np.load(self._file(place, "step")), np.load(self._file(place, "zero")), 1, self.bits)

    def codes(self, name: str) -> Codes:
        """The codes of a weight; they need not be the nearest to its numbers."""
        found: Codes = np.load(self._file(self._places[name], "codes"))
        return found

    def _file(self, place: int, what: str) -> Path:
        return self._folder / f"{place}-{what}.npy"
