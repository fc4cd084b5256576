"""A run that SIGKILL ended goes on to the very weights of an unbroken one; two processes train as one does."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from tests.train import small

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow

NO_GRADIENT = "key.bias"
"""What is added to every key of a query changes no attention: its gradient is rounding, which Adam makes a step of."""


SHARED = ("head", "scores", "causal", "seq2seq")


def run(*arguments: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        [sys.executable, *arguments], env=environment, cwd=ROOT, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def torchrun(*arguments: str) -> None:
    """Runs a script in two processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    run(*"-m torch.distributed.run --nproc_per_node 2 --master_addr 127.0.0.1 --master_port".split(), port, *arguments)


KILLS = {
    "head": "3,7,14",
    "pairs-lora": "7,14",
    "head-lora": "14",
    "scores": "14",
    "labels": "14",
    "reranker": "14",
    "causal": "3,14",
    "causal-lora": "14",
    "seq2seq": "7,14",
    "seq2seq-lora": "14",
}
"""Kind of model → the steps in which it is killed: before the first checkpoint, in the first epoch, in the second."""


@pytest.fixture(scope="module")
def resumed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[float, float]]:
    """Kind → how far training moved a weight, and how far the resumed runs are from the unbroken one."""
    orders = [f"{kind}:{steps}" for kind, steps in KILLS.items()]
    lines = run("-m", "tests.train.killed_run", str(tmp_path_factory.mktemp("killed")), *orders).splitlines()
    found = [line.split() for line in lines if line.startswith("kind ")]
    return {kind: (float(moved), float(difference)) for _, kind, moved, difference in found}


@pytest.mark.parametrize("kind", KILLS)
def test_a_killed_run_goes_on_to_the_same_weights(kind: str, resumed: dict[str, tuple[float, float]]) -> None:
    moved, difference = resumed[kind]
    assert moved > 1e-3
    assert difference == 0.0


def test_two_processes_train_as_one(tmp_path: Path) -> None:
    small.repo(tmp_path / "repo")
    script = [str(ROOT / "tests" / "train" / "two_processes.py"), str(tmp_path), *SHARED]
    run(*script)
    torchrun(*script)
    for kind in SHARED:
        one, two = (load_file(tmp_path / f"{kind}-{processes}.safetensors") for processes in (1, 2))
        difference = {name: float((one[name] - two[name]).abs().max()) for name in one if NO_GRADIENT not in name}
        assert max(difference.values()) < 1e-5, (kind, max(difference, key=difference.__getitem__))
