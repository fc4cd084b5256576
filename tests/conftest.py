"""What every test shares: its own cache, no network, no SDK of this machine; and how a parallel run is laid out.

`make test` runs one worker a CPU (pytest-xdist), plain `pytest` none. A worker gets whole files, so that a fixture of
a module is made once. What follows for a test:

- It keeps to `tmp_path` and its own `QEFF_HOME`. What it must share with other files (a download) it locks.
- A test that takes more than about ten seconds is marked `slow`; a file with many exports has `pytestmark = slow`.
  Files with slow tests start behind the others, those with the most first; what is marked `sweep` goes last.
- A file of many exports that shares no fixture goes into `SPREAD`: its tests are dealt out one by one. One whose
  fixture has a model a parameter goes into `BY_MODEL`: the tests of a model are dealt out together.
- `sweep` marks the many of a kind: model types, sizes of a call, moments of a kill. `make sweep` runs them all, `make
  test` and CI a third of them, another one each day (`--sweep=today`). Plain `pytest` runs what it is told to.
- A bound on seconds has to hold while another test takes the other CPU.
- What another test of the run exported from the same model is not exported again, but copied into the test's cache
  (`tests/shared_graphs.py`). A test or file whose subject is the export, or what goes on during one, is marked
  `own_exports`; while something is patched with `monkeypatch`, each exports for itself anyway.
"""

import gc
import os
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import operators
from tests.rotation import todays
from tests.shared_graphs import MARKER, SharedGraphs

SPREAD = ("tests/sweep/",)
BY_MODEL = (
    "tests/parity/test_families.py",
    "tests/parity/test_tasks.py",
    "tests/generation/test_graph_tokens.py",
    "tests/generation/test_writers.py",
)
CPUS = len(os.sched_getaffinity(0))
WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
SHARE = max(1, CPUS // WORKERS)
BEGAN = float(os.environ.setdefault("QEFF_TESTS_BEGAN", str(time.time())))  # of the run: its workers inherit it
if WORKERS > 1:  # before torch is imported; child processes inherit it
    os.environ.setdefault("OMP_NUM_THREADS", str(SHARE))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--sweep", choices=("all", "today"), default="all", help="which of the tests that are marked sweep run"
    )


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """A worker a CPU; past eight, memory is what they would compete for."""
    return min(CPUS, 8)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Deals out files in the order of collection."""
    from xdist.scheduler import LoadScopeScheduling

    class Files(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return _scope(nodeid)

    config.option.loadscopereorder = False
    return Files(config, log)


def _scope(nodeid: str) -> str:
    """What goes to one worker as a whole: the test's file, those of its tests that share a model, or the test alone."""
    file, _, test = nodeid.partition("::")
    if file in BY_MODEL:
        model = test.partition("[")[2].removesuffix("]").removesuffix("-left").removesuffix("-right")
        return f"{file}[{model}]"
    return nodeid if nodeid.startswith(SPREAD) else file


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--sweep") == "today":
        _keep_todays_sweeps(config, items)
    if WORKERS > 1:
        slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
        items.sort(
            key=lambda item: (item.get_closest_marker("sweep") is not None, slow[item.path] > 0, -slow[item.path])
        )


def _keep_todays_sweeps(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselects the sweeps of other days. Each worker does it, and all go by the day on which the run began."""
    sweeps = [item for item in items if item.get_closest_marker("sweep")]
    groups = list(dict.fromkeys(map(_rotated, sweeps)))
    today = set(todays(groups, BEGAN))
    later = {item for item in sweeps if _rotated(item) not in today}
    config.hook.pytest_deselected(items=[item for item in items if item in later])
    items[:] = [item for item in items if item not in later]


def _rotated(item: pytest.Item) -> str:
    """What runs on one day: the tests that share a model, or one test."""
    return _scope(item.nodeid) if item.nodeid.startswith(BY_MODEL) else item.nodeid


def pytest_collection_finish() -> None:
    _keep_for_good()


def _keep_for_good() -> None:
    """What imports left behind stays for good: no full collection, such as those around an export, need walk it."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
    yield
    if nextitem is not None and _scope(nextitem.nodeid) != _scope(item.nodeid):  # the fixtures of a module are gone
        _keep_for_good()  # what the tests were the first to import


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    SharedGraphs.allowed = item.get_closest_marker(MARKER) is None  # before its fixtures, those of its module too


@pytest.fixture(scope="session", autouse=True)
def own_share_of_the_cpus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A worker's CPUs are to the host backend what a container's quota is; with more threads workers would only spin
    against each other."""
    from QEfficient.backends import host

    with pytest.MonkeyPatch.context() as patch:
        if WORKERS > 1:
            folder = tmp_path_factory.mktemp("cgroup")
            (folder / "cpu.max").write_text(f"{SHARE * 100_000} 100000\n")
            patch.setattr(host._cpu_quota, "__defaults__", (folder,))
        yield


@pytest.fixture(scope="session", autouse=True)
def one_table_of_operators() -> Iterator[None]:
    with operators.once():
        yield


@pytest.fixture(scope="session", autouse=True)
def shared_graphs(
    tmp_path_factory: pytest.TempPathFactory, own_share_of_the_cpus: None, one_table_of_operators: None
) -> Iterator[SharedGraphs]:
    """The run's pool of graphs, the same for all workers. What those two fixtures patch stays for all tests."""
    base = tmp_path_factory.getbasetemp()
    shared = SharedGraphs((base.parent if WORKERS > 1 else base) / "shared_graphs")
    with shared.in_use():
        yield shared
    shared.check()


@pytest.fixture(autouse=True)
def own_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QEFF_HOME", str(tmp_path / "qeff_home"))
    monkeypatch.setenv("QEFF_QAIC_SDK", str(tmp_path / "no-sdk"))  # a real SDK must not take part
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for name in ("XDG_CACHE_HOME", "QEFF_BACKEND", "QEFF_COMPILE_TIMEOUT", "QAIC_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
