"""The whole road of one model with a cold cache, a script for ``tests.killing.Zygote``: ``cold_road.py <repo> <CPUs>``.

The script has imported and once used all that an export needs, so that a child spends its time in the stage.
"""

import gc
import logging
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from QEfficient import QEFFAutoModel
from tests import operators
from tests.cpus import allow_cpus
from tests.killing import Zygote, serve

SCRIPT = Path(__file__)
TEXTS = ["A cup of tea.", "My name is", "Rain, rain and more rain fell on the hills all day long.", "x"]


def load(repo: str) -> QEFFAutoModel:
    return QEFFAutoModel.from_pretrained(repo, pooling="mean")


def vectors_file(home: Path, pid: int) -> Path:
    return home.with_name(f"{home.name}.{pid}.npy")


def built_file(home: Path) -> Path:
    return home.with_name(f"{home.name}.built.txt")


def vectors(zygote: Zygote, home: Path) -> NDArray[np.float32]:
    """For the test: what the run ``whole`` encodes."""
    with zygote.child("whole", home) as child:
        child.wait_for("END")
        found: NDArray[np.float32] = np.load(vectors_file(home, child.pid))
    return found


def whole(repo: str) -> None:
    """Compile, encode and keep the vectors. Each stage that was really built adds a line to ``built_file``."""
    home = Path(os.environ["QEFF_HOME"])
    handler = logging.FileHandler(built_file(home))
    handler.addFilter(lambda record: str(record.msg).startswith("built the "))
    log = logging.getLogger("QEfficient")
    log.setLevel(logging.INFO)
    log.addHandler(handler)
    model = load(repo)
    model.compile(seq_len=32)
    np.save(vectors_file(home, os.getpid()), model.encode(TEXTS))


def main(repo: str, cpus: str) -> None:
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # a thread that a fork would leave behind
    allow_cpus(int(cpus), Path(repo).parent)
    import torch

    torch.set_num_threads(1)  # worker threads do not live on in a forked child
    with operators.once():
        with tempfile.TemporaryDirectory() as home:
            os.environ["QEFF_HOME"] = home
            load(repo).compile(seq_len=32)
        gc.collect()
        gc.freeze()  # a child's collector would touch, and so copy, all of the parent's memory
        serve(
            export=lambda: load(repo).export(),
            compile=lambda: load(repo).compile(seq_len=32),
            whole=lambda: whole(repo),
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
