"""Many processes and threads on a cold cache: one export, one compile, equal results bit for bit."""

import contextlib
import logging
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
from numpy.typing import NDArray

from QEfficient import QEFFAutoModel
from QEfficient.backends.host import usable_cpus
from QEfficient.cache import Cache
from tests.cache_builds import leftovers
from tests.cold_road import SCRIPT, TEXTS, built_file, vectors_file
from tests.killing import Zygote, new_home
from tests.tiny_repo import tiny_repo

pytestmark = pytest.mark.own_exports

T = TypeVar("T")
MANY = 8


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_repo(tmp_path_factory.mktemp("repo"), layers=1)


def at_once(work: Callable[[int], T], count: int = MANY) -> list[T]:
    """Runs ``work`` in threads that start together."""
    barrier = threading.Barrier(count)

    def start(index: int) -> T:
        barrier.wait()
        return work(index)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(start, range(count)))


def built_stages(log: Iterable[str]) -> list[str]:
    """The stages that were really built: one message ``built the onnx stage in 1.2 s`` for each."""
    return sorted(message.split()[2] for message in log if message.startswith("built the "))


@pytest.mark.slow
def test_eight_processes_on_a_cold_cache_export_once_and_compile_once(repo: Path, tmp_path: Path) -> None:
    home = new_home(tmp_path / "home")
    with Zygote(SCRIPT, repo, str(usable_cpus())) as zygote, contextlib.ExitStack() as stack:
        children = [stack.enter_context(zygote.child("whole", home)) for _ in range(MANY)]
        for child in children:
            child.wait_for("END")
        results = [np.load(vectors_file(home, child.pid)) for child in children]
    assert built_stages(built_file(home).read_text().splitlines()) == ["onnx", "program"]
    assert results[0].shape == (len(TEXTS), 32)
    assert all(np.array_equal(result, results[0]) for result in results)
    assert [problem for _, problem in Cache(home).verify()] == [None, None]
    assert leftovers(home) == []


def test_eight_threads_with_a_model_each_export_once_and_compile_once(
    repo: Path, caplog: pytest.LogCaptureFixture
) -> None:
    models = [QEFFAutoModel.from_pretrained(repo, pooling="mean") for _ in range(MANY)]
    with caplog.at_level(logging.INFO, "QEfficient"):
        paths = at_once(lambda index: models[index].compile(seq_len=32))
    assert built_stages(caplog.messages) == ["onnx", "program"]
    assert len(set(paths)) == 1
    results = [model.encode(TEXTS) for model in models]
    assert all(np.array_equal(result, results[0]) for result in results)
    assert leftovers(Cache().home) == []


@pytest.mark.slow
def test_threads_that_export_different_models_do_not_disturb_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repos = [tiny_repo(tmp_path / f"repo-{index}", layers=1, seed=index) for index in range(3)]

    def vectors(repo: Path) -> NDArray[np.float32]:
        model = QEFFAutoModel.from_pretrained(repo, pooling="mean")
        model.compile(seq_len=32)
        found: NDArray[np.float32] = model.encode(TEXTS)
        return found

    monkeypatch.setenv("QEFF_HOME", str(tmp_path / "one-by-one"))
    serial = [vectors(repo) for repo in repos]
    monkeypatch.setenv("QEFF_HOME", str(tmp_path / "together"))
    together = at_once(lambda index: vectors(repos[index]), len(repos))
    assert all(np.array_equal(one, other) for one, other in zip(serial, together, strict=True))


def test_eight_threads_encode_on_one_program_as_one_thread_does(repo: Path) -> None:
    model = QEFFAutoModel.from_pretrained(repo, pooling="mean")
    model.compile(seq_len=[8, 16, 32])
    shares = [TEXTS[index % 2 :] * (index + 1) for index in range(MANY)]  # other rows and another number in each
    serial = [model.encode(share) for share in shares]
    for _ in range(3):
        model.close()  # opening is part of the race
        threaded = at_once(lambda index: model.encode(shares[index]))
        assert all(np.array_equal(one, other) for one, other in zip(serial, threaded, strict=True))
