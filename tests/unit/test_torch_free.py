"""A saved program and a warm cache answer without torch, its friends and a network, bit for bit as before."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.tiny_repo import tiny_repo

pytestmark = pytest.mark.own_exports

ROOT = Path(__file__).parents[2]

BLOCK = """
import socket, sys

BLOCKED = {"torch", "transformers", "onnx", "onnx_ir", "onnxscript", "huggingface_hub"}

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise SystemExit(f"{name} was imported")  # no ImportError: nobody may catch it and go on

class NoSocket(socket.socket):
    def __init__(self, *args, **kwargs):
        raise SystemExit("a socket was opened")

def no_lookup(*args, **kwargs):
    raise SystemExit("a host was looked up")

sys.meta_path.insert(0, Finder())
socket.socket, socket.getaddrinfo = NoSocket, no_lookup
"""

TEXTS = """
TEXTS = ["A cup of tea.", "My name is", "Rain, rain and more rain fell on the hills all day long.", "x"]
IDS = {"input_ids": [[101, 2026, 2171, 2003, 102], [101, 5572, 102, 0, 0]],
       "attention_mask": [[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]}
"""

ANSWER = """
import sys
import numpy as np
from QEfficient import QEFFAutoModel, QuantizedEmbeddings
model = QEFFAutoModel.from_pretrained(sys.argv[1])
np.savez(sys.argv[2], many=model.encode(TEXTS), one=model.encode(TEXTS[1]), ids=model.generate(IDS)["output"])
assert model.device_report()["backend"] == "onnxruntime"
vectors = model.encode(TEXTS)
assert model.similarity(vectors, vectors).shape == (len(TEXTS), len(TEXTS))
[hits] = QuantizedEmbeddings(model.encode(TEXTS, precision="ubinary"), "ubinary").search(vectors[2], top_k=1)
assert hits[0]["corpus_id"] == 2
assert model.get_model_config["model_type"] == "bert"
assert model.benchmark(TEXTS, rounds=1).rows == len(TEXTS)
model.save_pretrained(sys.argv[3])
"""

COMPILE = """
import sys
import numpy as np
from QEfficient import QEFFAutoModel
model = QEFFAutoModel.from_pretrained(sys.argv[1], pooling="auto")
assert model.model_name == "BertModel"
model.compile(backend="onnxruntime", seq_len="auto", texts=TEXTS, buckets=2)
np.savez(sys.argv[2], many=model.encode(TEXTS), one=model.encode(TEXTS[1]), ids=model.generate(IDS)["output"])
model.save_pretrained(sys.argv[3])
"""


def python(script: str, *arguments: Path, home: Path) -> str:
    """Runs a script in a process of its own; what it wrote to stderr when it failed, else nothing."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "QEFF_"))}
    environment = kept | {
        "QEFF_HOME": str(home),
        "QEFF_QAIC_SDK": str(home / "no-sdk"),
        "PYTHONPATH": str(ROOT),
        "PYTHONWARNINGS": "error",
    }
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)], env=environment, capture_output=True, text=True
    )
    return f"exit {done.returncode}: {done.stderr}" if done.returncode else ""


def arrays(path: Path) -> dict[str, NDArray[np.float32]]:
    with np.load(path) as found:
        return dict(found)


def same_bits(first: Path, second: Path) -> None:
    want, got = arrays(first), arrays(second)
    assert want.keys() == got.keys()
    for name, array in want.items():
        assert array.dtype == got[name].dtype == np.float32
        assert array.tobytes() == got[name].tobytes(), name
        assert array.shape == got[name].shape


@dataclass(frozen=True)
class First:
    """What the first process, which had everything, left behind."""

    repo: Path
    home: Path
    saved: Path
    vectors: Path


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> First:
    folder = tmp_path_factory.mktemp("first")
    (folder / "repo").mkdir()
    made = First(tiny_repo(folder / "repo"), folder / "home", folder / "saved", folder / "vectors.npz")
    # without warnings as errors: torch's own are not this test's matter
    script = "import warnings; warnings.resetwarnings()\n" + TEXTS + COMPILE
    assert not python(script, made.repo, made.vectors, made.saved, home=made.home)
    return made


def test_a_moved_program_answers_without_torch_and_network(first: First, tmp_path: Path) -> None:
    moved, again, answers = tmp_path / "elsewhere" / "program", tmp_path / "again", tmp_path / "answers.npz"
    moved.parent.mkdir()
    first.saved.rename(moved)
    try:
        assert not python(BLOCK + TEXTS + ANSWER, moved, answers, again, home=tmp_path / "empty")
    finally:
        moved.rename(first.saved)
    same_bits(first.vectors, answers)
    left = {file.parent.name for file in (tmp_path / "empty").rglob("*") if file.is_file()}
    assert left == {"tunings"}  # a saved program needs no cache; benchmark keeps how it runs best here


def test_a_program_that_was_saved_again_answers_alike(first: First, tmp_path: Path) -> None:
    for source, dest in ((first.saved, tmp_path / "b"), (tmp_path / "b", tmp_path / "c")):
        answers = tmp_path / f"{dest.name}.npz"
        # a home each: benchmark measures how many batches run at once, and other batches may round a last bit otherwise
        assert not python(BLOCK + TEXTS + ANSWER, source, answers, dest, home=tmp_path / f"home of {dest.name}")
        same_bits(first.vectors, answers)


def test_a_warm_cache_answers_without_torch_and_network(first: First, tmp_path: Path) -> None:
    answers = tmp_path / "answers.npz"
    assert not python(BLOCK + TEXTS + COMPILE, first.repo, answers, tmp_path / "saved", home=first.home)
    same_bits(first.vectors, answers)


def test_the_finder_would_catch_an_import(first: First, tmp_path: Path) -> None:
    """The tests above are no empty ones: a cold cache needs torch, and then the child fails."""
    said = python(BLOCK + TEXTS + COMPILE, first.repo, tmp_path / "a.npz", tmp_path / "saved", home=tmp_path / "cold")
    assert "was imported" in said
    assert not (tmp_path / "a.npz").exists()


@pytest.mark.parametrize(
    "attempt", ["socket.create_connection(('127.0.0.1', 9))", "socket.socket()", "socket.getaddrinfo('localhost', 80)"]
)
def test_the_network_is_really_blocked(attempt: str, tmp_path: Path) -> None:
    said = python(BLOCK + attempt, home=tmp_path)
    assert "a socket was opened" in said or "a host was looked up" in said
