"""A call of a user's walks through few files of the library, so that a stranger can follow it from one to the next."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from statistics import median

import pytest

from tests.repo.conftest import Child
from tests.repo.source import library_files

Counts = Mapping[str, Mapping[str, int]]
"""Road → function, as ``"file.py name"`` → its calls."""

# Road → the most files, and the most calls outside of `cache/`; None: as many as it takes.
MOST: dict[str, tuple[int, int | None]] = {
    "from_pretrained": (9, None),
    "compile": (27, 150),  # of a program that the cache holds
    "generate": (11, 60),
    "encode": (10, 50),  # of one text
}


@pytest.fixture(scope="module")
def counts(child: Child, tmp_path_factory: pytest.TempPathFactory) -> Counts:
    """What runs on each road, with the second object of a process."""
    folder = tmp_path_factory.mktemp("roads")
    environment = {"QEFF_HOME": str(folder / "home"), "QEFF_QAIC_SDK": str(folder / "no-sdk"), "QEFF_BACKEND": "auto"}
    done = child(["-m", "tests.road_counts", str(folder)], environment)
    found: Counts = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize("road", MOST)
def test_a_road_leads_through_few_files(counts: Counts, road: str) -> None:
    files: Counter[str] = Counter()
    for function, calls in counts[road].items():
        files[function.split()[0]] += calls
    outside = sum(calls for file, calls in files.items() if not file.startswith("cache/"))
    most_files, most_calls = MOST[road]
    shown = "\n".join(f"  {calls:5} {function}" for function, calls in sorted(counts[road].items()))
    assert files, "nothing was counted"
    assert len(files) <= most_files, f"{len(files)} files:\n{shown}"
    assert most_calls is None or outside <= most_calls, f"{outside} calls outside of cache/:\n{shown}"


def test_files_stay_cut_by_idea() -> None:
    """Fewer files on a road must not come from larger ones."""
    assert median(len(file.read_text().splitlines()) for file in library_files()) <= 120
