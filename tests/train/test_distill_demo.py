"""`make demo-distill`, small: it goes through, and prints what the page shows."""

from __future__ import annotations

import json
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
