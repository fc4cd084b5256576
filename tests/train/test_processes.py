"""``fine_tune`` of the Auto classes in two processes of 16 rows against one of 32: weights, losses, programs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.train import small
from tests.train.test_resume import NO_GRADIENT, ROOT, run, torchrun

pytestmark = pytest.mark.slow

KINDS = ("head", "cosine", "negatives", "reranker")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder into which one process and then two have trained every kind."""
    base = tmp_path_factory.mktemp("processes")
    small.repo(base / "repo")
    script = [str(ROOT / "tests" / "train" / "methods_in_processes.py"), str(base), *KINDS]
    run(*script)
    torchrun(*script, "refusals")
    return base


@pytest.mark.parametrize("kind", KINDS)
def test_two_processes_come_to_what_one_does(kind: str, trained: Path) -> None:
    one = np.load(trained / f"{kind}-1-0.npz")
    assert len(one["losses"]) == 2
    assert one["held_out"][1] < one["held_out"][0] - 1e-4  # it learns, so that equality means something
    for rank in (0, 1):
        two = np.load(trained / f"{kind}-2-{rank}.npz")  # both have a program, and losses that are means
        differences = {name: np.abs(one[name] - two[name]).max() for name in one.files if NO_GRADIENT not in name}
        assert max(differences.values()) < 1e-5, (rank, max(differences, key=lambda name: differences[name]))


def test_both_processes_are_refused_what_one_can_not_do(trained: Path) -> None:
    first, second = (json.loads((trained / f"refusals-{rank}.json").read_text()) for rank in (0, 1))
    assert first == second
    assert "same label" in first["labels"]
    assert "another run has made" in first["folder"]
    assert "another train in process 1" in first["rows"]
    assert "10 rows for 2 processes with batch_size=16" in first["few"]


def test_the_first_process_alone_writes(trained: Path) -> None:
    for kind in KINDS:
        names = {one.name for one in (trained / f"{kind}-2").iterdir()}
        assert names - {".training.lock"} == {"checkpoint-9", "checkpoint-12", "model", "run.json"}
