"""What every test shares: its own cache, no network, no SDK of this machine; and how a parallel run is laid out.

`make test` runs one worker a CPU (pytest-xdist), plain `pytest` none. A worker gets whole files, so that a fixture of
a module is made once. What follows for a test:

- It keeps to `tmp_path` and its own `QEFF_HOME`. What it must share with other files (a download) it locks.
- A test that takes more than about ten seconds is marked `slow`; a file with many exports has `pytestmark = slow`.
  Files with slow tests start first, so that none is left for the end while the other worker has nothing to do.
- A bound on seconds has to hold while another test takes the other CPU.
"""

import os
from collections import Counter
from pathlib import Path

import pytest

CPUS = len(os.sched_getaffinity(0))
WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
if WORKERS > 1:  # before torch is imported; child processes inherit it
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, CPUS // WORKERS)))


@pytest.hookimpl(optionalhook=True)  # of pytest-xdist
def pytest_xdist_auto_num_workers() -> int:
    """A worker a CPU; past eight, memory is what they would compete for."""
    return min(CPUS, 8)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if WORKERS > 1:
        slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
        items.sort(key=lambda item: -slow[item.path])


@pytest.fixture(autouse=True)
def own_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QEFF_HOME", str(tmp_path / "qeff_home"))
    monkeypatch.setenv("QEFF_QAIC_SDK", str(tmp_path / "no-sdk"))  # a real SDK must not take part
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for name in ("XDG_CACHE_HOME", "QEFF_BACKEND", "QEFF_COMPILE_TIMEOUT", "QAIC_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
