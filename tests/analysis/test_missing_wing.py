"""Without ``QEfficient.analysis`` the road, verify and doctor work; what needs it says in one error what is missing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.sdk import make_sdk
from tests.tiny_repo import tiny_repo

ROOT = Path(__file__).parents[2]

SCRIPT = """
import json, sys

class NoAnalysis:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[:2] == ["QEfficient", "analysis"]:
            raise ImportError(f"{name} was left out")

sys.meta_path.insert(0, NoAnalysis())

from transformers import AutoTokenizer
from QEfficient import QEFFAutoModel, QEfficientError

repo, report = sys.argv[1:]
TEXTS = ["A cup of tea.", "My name is", "Rain fell on the hills all day long."]
found, errors = {}, {}

def refused(name, call):
    try:
        call()
    except QEfficientError as error:
        errors[name] = [type(error).__name__, isinstance(error, ImportError), str(error)]

model = QEFFAutoModel.from_pretrained(repo, pooling="mean")
refused("analyze before compile", lambda: model.analyze(report=report))
model.compile(num_cores=16, backend="onnxruntime")
inputs = AutoTokenizer.from_pretrained(repo)("My name is", return_tensors="pt")
found["generate"] = model.generate(inputs)["output"].tolist()
found["encode"] = model.encode("My name is").tolist()
found["verify"] = model.verify().passed
found["doctor"] = model.doctor().before.passed
refused("analyze", lambda: model.analyze())
refused("recommend", lambda: model.recommend())
refused("objective", lambda: model.compile(backend="onnxruntime", objective="latency"))
refused("auto on a card", lambda: model.compile(backend="qaic", num_cores=14, seq_len="auto", texts=TEXTS))
model.compile(backend="onnxruntime", seq_len="auto", texts=TEXTS, buckets=2)
found["auto on the host"] = len(model.encode(TEXTS))
from QEfficient.cli.main import main
found["commands"] = {}
for command in ("verify", "analyze"):
    sys.argv = ["qefficient", command, repo]
    try:
        main()
    except SystemExit as end:
        found["commands"][command] = end.code
print(json.dumps([found, errors]))
"""


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, Any], str]:
    """What works, the errors of what does not, and what was written to stderr."""
    folder = tmp_path_factory.mktemp("wing")
    (folder / "repo").mkdir()
    repo, sdk = tiny_repo(folder / "repo"), make_sdk(folder / "sdk")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "QEFF_"))}
    environment = kept | {
        "QEFF_HOME": str(folder / "home"),
        "QEFF_QAIC_SDK": str(sdk.root),
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-c", SCRIPT, str(repo), str(folder / "report.html")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not (folder / "report.html").exists()
    found, errors = json.loads(done.stdout.splitlines()[-1])
    return found, errors, done.stderr


def test_the_road_verify_and_doctor_work(answers: tuple[dict[str, Any], dict[str, Any], str]) -> None:
    found, _, _ = answers
    (output,) = found["generate"]
    assert output == pytest.approx(found["encode"], abs=1e-6) and len(output) == 32
    assert found["verify"] and found["doctor"] and found["auto on the host"] == 3
    assert found["commands"]["verify"] in (0, None)


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ("analyze before compile", "analyze()"),
        ("analyze", "analyze()"),
        ("recommend", "recommend()"),
        ("objective", "objective="),
        ("auto on a card", 'seq_len="auto"'),
    ],
)
def test_what_needs_it_says_what_is_missing(
    answers: tuple[dict[str, Any], dict[str, Any], str], asked: str, named: str
) -> None:
    kind, is_import_error, text = answers[1][asked]
    assert (kind, is_import_error) == ("MissingExtraError", True)
    assert named in text and "QEfficient.analysis" in text and "was left out" in text
    assert "pip install" in text  # what to do


def test_the_command_says_it_too(answers: tuple[dict[str, Any], dict[str, Any], str]) -> None:
    found, _, written = answers
    assert found["commands"]["analyze"] not in (0, None)
    assert "QEfficient.analysis" in written and "Traceback" not in written
