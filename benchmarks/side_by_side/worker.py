"""A contender in a process of its own: JSON lines in, JSON lines out, one request at a time.

    python worker.py MODULE.LOADER OPTIONS        # a function of a module beside this file, and its options as JSON

One that makes vectors is asked for

| request | answer |
|---|---|
| ``{"do": "first", "texts": […]}`` | after the first vectors: ``peak``, the greatest resident set in MB |
| ``{"do": "corpus", "name": …, "path": …}`` | the texts of a JSON file are kept under a name |
| ``{"do": "warm"}`` | what the contender asks for before it is at its best |
| ``{"do": "vectors", "corpus": …, "batch": …, "path": …}`` | writes them with ``numpy.save`` |
| ``{"do": "encode", "corpus": …, "batch": …, "every": 1}`` | ``seconds`` for every so-manyth text of it in one call |
| ``{"do": "each", "corpus": …, "part": 0, "parts": 5}`` | ``seconds`` for each text by itself, of a part of it |

and one that writes text for

| request | answer |
|---|---|
| ``{"do": "write", "rows": [[…]], "new": …}`` | new ``ids`` of each row; ``seconds``, and ``first`` till all had one |

Every answer has ``peak``. One that fails has ``error`` in place of its result, and the worker goes on. The first line
is ``{"batched": …}`` (of a writer empty, but for ``peak``) once the model is loaded. Whatever a library prints goes to
stderr.
"""

from __future__ import annotations

import importlib
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


class VectorDesk:
    """What a model is asked for that makes vectors.

    Args:
        loaded: Has ``encode``, ``batched`` and ``warm``, as :class:`loaders.Loaded`.
    """

    def __init__(self, loaded: Any) -> None:
        self.loaded = loaded
        self.corpora: dict[str, list[str]] = {}
        self.hello = {"batched": loaded.batched}
        self.tasks: dict[str, Callable[..., Any]] = {
            "first": self._first,
            "corpus": self._corpus,
            "warm": loaded.warm,
            "vectors": self._vectors,
            "encode": self._encode,
            "each": self._each,
        }

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


class WritingDesk:
    """What a model is asked for that writes text.

    Args:
        loaded: Has ``write``, as :class:`writing.writers.Writer`.
    """

    def __init__(self, loaded: Any) -> None:
        self.loaded = loaded
        self.hello: dict[str, Any] = {}
        self.tasks: dict[str, Callable[..., Any]] = {"write": self._write}

    def _write(self, rows: list[list[int]], new: int) -> dict[str, Any]:
        start = time.perf_counter()
        ids, first = self.loaded.write(rows, new)
        return {"seconds": time.perf_counter() - start, "first": first - start, "ids": ids}


def serve(load: Callable[[], Any], requests: Iterable[str], answers: IO[str]) -> None:
    """Loads, and answers until the requests end."""

    def say(answer: dict[str, Any]) -> None:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    try:
        loaded = load()
    except Exception:
        return say({"error": traceback.format_exc()})
    desk: VectorDesk | WritingDesk = WritingDesk(loaded) if hasattr(loaded, "write") else VectorDesk(loaded)
    say(desk.hello | {"peak": peak()})
    for line in requests:
        try:
            request = json.loads(line)
            say((desk.tasks[request.pop("do")](**request) or {}) | {"peak": peak()})
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
    module, _, name = sys.argv[1].rpartition(".")
    serve(lambda: getattr(importlib.import_module(module), name)(options), sys.stdin, answers)


if __name__ == "__main__":
    main()
