"""`make demo-distill` and `make demo-prune`, small: they go through, and print what the pages show."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.repo.source import ROOT


@pytest.mark.slow
@pytest.mark.sweep
def test_the_demo_prints_its_figures(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.demos.distill", "--texts", "80", "--epochs", "0.5"]
    done = subprocess.run([*command, "--output", str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert (found["texts"], found["held out"]) == (72, 8)
    assert found["teacher"]["lee"] == pytest.approx(0.508, abs=0.002)
    assert 0.4 < found["only cut"]["mean cosine"] < 0.6
    assert found["times as fast"]["median"] > 1.2
    assert (tmp_path / "model" / "config_qefficient_training.json").is_file()


@pytest.mark.slow
@pytest.mark.sweep
def test_the_demo_of_pruning_prints_its_figures() -> None:
    command = [sys.executable, "-m", "benchmarks.demos.prune", "--rows", "200", "--steps", "2"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "of the encoder, 0.14" in done.stdout and "McNemar p" in done.stdout
    ratio = re.search(r"times as fast, texts a CPU second: (\d\.\d+)", done.stdout)
    assert ratio is not None and float(ratio[1]) > 1.05
