"""A contender in a process of its own: JSON lines in, JSON lines out, one request at a time.

    python worker.py LOADER OPTIONS        # a function of loaders.py, and its options as JSON

| request | answer |
|---|---|
| ``{"do": "first", "texts": […]}`` | after the first vectors: ``peak``, the greatest resident set in MB |
| ``{"do": "corpus", "name": …, "path": …}`` | the texts of a JSON file are kept under a name |
| ``{"do": "warm"}`` | what the contender asks for before it is at its best |
| ``{"do": "vectors", "corpus": …, "batch": …, "path": …}`` | writes them with ``numpy.save`` |
| ``{"do": "encode", "corpus": …, "batch": …, "every": 1}`` | ``seconds`` for every so-manyth text of it in one call |
| ``{"do": "each", "corpus": …, "part": 0, "parts": 5}`` | ``seconds`` for each text by itself, of a part of it |

Every answer has ``peak``. One that fails has ``error`` in place of its result, and the worker goes on. The first line
is ``{"batched": …}`` once the model is loaded. Whatever a library prints goes to stderr.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterable
from typing import IO, Any


def peak() -> float:
    """The greatest resident set of this process so far, in MB."""
    with open("/proc/self/status", encoding="ascii") as status:
        [line] = [line for line in status if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024 / 1e6


class Desk:
    """Answers requests with one loaded model.

    Args:
        loaded: Has ``encode``, ``batched`` and ``warm``, as :class:`loaders.Loaded`.
    """

    def __init__(self, loaded: Any) -> None:
        self.loaded = loaded
        self.corpora: dict[str, list[str]] = {}

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """The answer to one request."""
        tasks: dict[str, Callable[..., Any]] = {
            "first": self._first,
            "corpus": self._corpus,
            "warm": self.loaded.warm,
            "vectors": self._vectors,
            "encode": self._encode,
            "each": self._each,
        }
        wanted = dict(request)
        found = tasks[wanted.pop("do")](**wanted)
        return (found if isinstance(found, dict) else {}) | {"peak": peak()}

    def _first(self, texts: list[str]) -> None:
        self.loaded.encode(texts, 32)

    def _corpus(self, name: str, path: str) -> None:
        with open(path, encoding="utf-8") as file:
            self.corpora[name] = json.load(file)

    def _vectors(self, corpus: str, batch: int, path: str) -> None:
        import numpy as np

        np.save(path, np.asarray(self.loaded.encode(self.corpora[corpus], batch)))

    def _encode(self, corpus: str, batch: int, every: int = 1) -> dict[str, Any]:
        texts = self.corpora[corpus][::every]
        start = time.perf_counter()
        self.loaded.encode(texts, batch)
        return {"seconds": time.perf_counter() - start}

    def _each(self, corpus: str, part: int = 0, parts: int = 1) -> dict[str, Any]:
        seconds = []
        for text in self.corpora[corpus][part::parts]:
            start = time.perf_counter()
            self.loaded.encode([text], 1)
            seconds.append(time.perf_counter() - start)
        return {"seconds": seconds}


def serve(load: Callable[[], Any], requests: Iterable[str], answers: IO[str]) -> None:
    """Loads, and answers until the requests end."""

    def say(answer: dict[str, Any]) -> None:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    try:
        desk = Desk(load())
    except Exception:
        return say({"error": traceback.format_exc()})
    say({"batched": desk.loaded.batched, "peak": peak()})
    for line in requests:
        try:
            say(desk.answer(json.loads(line)))
        except Exception:
            say({"error": traceback.format_exc()})


def own_channel() -> IO[str]:
    """What stdout was; from now on everything that is printed goes to stderr."""
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return channel


def main() -> None:
    """Serves the loader that is named, on as many CPUs as the options say."""
    answers = own_channel()
    options = json.loads(sys.argv[2])
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options["threads"]])
    import loaders  # stands beside this file

    serve(lambda: getattr(loaders, sys.argv[1])(options), sys.stdin, answers)


if __name__ == "__main__":
    main()
