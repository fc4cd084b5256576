"""What runs in the library as a user walks its four roads, counted in a process of its own: ``road_counts.py FOLDER``.

Prints JSON: road → calls of each function, ``"file.py function"``, by any thread. Each is the second object's of a
process that has done its imports, so that only what every later call costs is counted.
"""

from __future__ import annotations

import json
import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import numpy as np

import QEfficient
from tests.tiny_repo import tiny_repo

LIBRARY = f"{Path(QEfficient.__file__).parent}/"
INPUTS = {"input_ids": np.array([[2, 5, 6, 3]]), "attention_mask": np.ones((1, 4), np.int64)}


def counted(road: Callable[[], object]) -> Counter[str]:
    """How often each function of the library runs; comprehensions and what ``dataclass`` writes are no functions."""
    calls: Counter[str] = Counter()

    def note(frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(LIBRARY) and not code.co_name.startswith("<"):
            calls[f"{code.co_filename.removeprefix(LIBRARY)} {code.co_name}"] += 1

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        road()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    return calls


def load(repo: Path) -> QEfficient.QEFFAutoModel:
    return QEfficient.QEFFAutoModel.from_pretrained(repo, pooling="mean")


def main(folder: str) -> None:
    repo = tiny_repo(Path(folder) / "repo", layers=1)
    model = load(repo)
    model.compile(num_cores=16)
    model.generate(INPUTS)
    model.encode("a text")

    loaded = counted(lambda: load(repo))
    model = load(repo)
    compiled = counted(lambda: model.compile(num_cores=16))
    model.generate(INPUTS)
    generated = counted(lambda: model.generate(INPUTS))
    model.encode("a text")
    encoded = counted(lambda: model.encode("a text"))
    print(json.dumps({"from_pretrained": loaded, "compile": compiled, "generate": generated, "encode": encoded}))


if __name__ == "__main__":
    main(*sys.argv[1:])
