"""The real export and compile, killed or interrupted at any moment: nothing lies, and nobody cleans up by hand."""

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from QEfficient import QEFFAutoModel
from QEfficient.backends.host import usable_cpus
from QEfficient.cache import Cache, Entry
from tests.cache_builds import leftovers
from tests.cold_road import SCRIPT, TEXTS, vectors
from tests.killing import Outcome, Zygote, kill_at_points, new_home
from tests.tiny_repo import tiny_repo

pytestmark = [pytest.mark.own_exports, pytest.mark.slow, pytest.mark.sweep]  # of many moments: a third of them a day


class Road:
    """A model that can be sent down the road again and again, and what has to come out."""

    def __init__(self, zygote: Zygote, folder: Path) -> None:
        self.zygote, self.home = zygote, new_home(folder / "reference")
        self.vectors: NDArray[np.float32] = vectors(zygote, self.home)
        self.graph = self._entry("onnx")
        self.program = self._entry("program")

    def _entry(self, stage: str) -> Entry:
        (entry,) = (entry for entry in Cache(self.home).entries() if entry.stage == stage)
        return entry

    def put_graph(self, home: Path) -> None:
        """Into a cold cache: the exported graph, and nothing else."""
        target = home / self.graph.path.relative_to(self.home)
        shutil.copytree(self.graph.path, target, copy_function=os.link)

    def check_entries(self, home: Path) -> list[str]:
        """Every entry is whole and right; returns their stages."""
        found = Cache(home).verify()
        for entry, problem in found:
            assert problem is None
            assert entry.path.relative_to(home) in [e.path.relative_to(self.home) for e in (self.graph, self.program)]
            if entry.stage == "onnx":
                assert files(entry) == files(self.graph)
            else:
                model = QEFFAutoModel.from_pretrained(entry.path)
                assert np.array_equal(model.encode(TEXTS), self.vectors)
                model.close()
        return sorted(entry.stage for entry, _ in found)

    def check_next_run(self, home: Path) -> None:
        """The next run finds its way without help, uses what is there, and leaves a whole and right cache."""
        assert np.array_equal(vectors(self.zygote, home), self.vectors)
        assert self.check_entries(home) == ["onnx", "program"]
        assert leftovers(home) == []


def files(entry: Entry) -> dict[str, str | None]:
    """The files' digests; not that of the graph, as torch now and then orders or names its parts in another way."""
    assert entry.envelope is not None
    return {name: None if name == "model.onnx" else facts.sha256 for name, facts in entry.envelope.files.items()}


@pytest.fixture(scope="module")
def road(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Road]:
    folder = tmp_path_factory.mktemp("road")
    with Zygote(SCRIPT, tiny_repo(folder / "repo", layers=1), str(usable_cpus())) as zygote:
        yield Road(zygote, folder)


def test_a_killed_export_leaves_nothing_that_lies(road: Road, tmp_path: Path) -> None:
    def check(outcome: Outcome) -> None:
        stages = road.check_entries(outcome.home)
        assert stages in {"drawn": ([], ["onnx"]), "before": ([],), "after": (["onnx"],)}[outcome.point]
        road.check_next_run(outcome.home)

    kill_at_points(road.zygote, "export", tmp_path / "homes", check)


def test_a_killed_compile_leaves_nothing_that_lies(road: Road, tmp_path: Path) -> None:
    both = ["onnx", "program"]

    def check(outcome: Outcome) -> None:
        stages = road.check_entries(outcome.home)
        assert stages in {"drawn": (["onnx"], both), "before": (["onnx"],), "after": (both,)}[outcome.point]
        road.check_next_run(outcome.home)

    kill_at_points(road.zygote, "compile", tmp_path / "homes", check, seed=road.put_graph)


@pytest.mark.parametrize("stage", ["export", "compile"])
def test_ctrl_c_passes_and_leaves_nothing_half_written(stage: str, road: Road, tmp_path: Path) -> None:
    published = {"export": "onnx", "compile": "program"}[stage]

    def check(outcome: Outcome) -> None:
        assert outcome.word in ("INTERRUPTED", "END"), outcome.log  # no word: torch's C++ code ended the process
        stages = road.check_entries(outcome.home)
        if outcome.point != "drawn":  # there the signal can't fall into the cleaning, which the next run makes good
            assert leftovers(outcome.home) == []
            assert (published in stages) == (outcome.point == "after")
        road.check_next_run(outcome.home)

    kill_at_points(
        road.zygote,
        stage,
        tmp_path / "homes",
        check,
        drawn=4,
        held=1,
        published=1,
        seed=road.put_graph if stage == "compile" else None,
        number=signal.SIGINT,
    )
