"""A small session in numpy for tests of the runtime: what went in can be told from what comes out."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self

import numpy as np

from QEfficient.backends.base import Arrays
from QEfficient.backends.input_check import InputCheck
from QEfficient.records import Shape, TensorSpec, Tuning

INPUTS = tuple(TensorSpec(n, "int64", ("batch_size", "seq_len")) for n in ("input_ids", "attention_mask"))
POOLED = TensorSpec("output", "float32", ("batch_size", 2))
TOKENS = TensorSpec("output", "float32", ("batch_size", "seq_len", 2))
SCORES = TensorSpec("start_logits", "float32", ("batch_size", "seq_len"))
BUCKETS = (Shape(4, 3), Shape(8, 3))


class ExampleSession:
    """Per token (id, place); pooled (sum of the ids with mask 1, number of them). Beyond the mask it gives junk."""

    def __init__(
        self,
        *outputs: TensorSpec,
        fixed: bool = False,
        slots: int = 1,
        workers: int | None = None,
        before: Callable[[Arrays], None] = lambda arrays: None,
    ) -> None:
        self.inputs, self.outputs, self.shapes = INPUTS, outputs or (POOLED,), BUCKETS
        self.fixed_shapes, self.slots, self.before = fixed, slots, before
        self.seen: list[tuple[int, int]] = []
        self.flying = self.most = self.held = self.most_held = 0
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(workers or slots)

    def run(self, arrays: Mapping[str, Any]) -> Arrays:
        InputCheck(self.inputs, self.shapes, fixed_shapes=self.fixed_shapes).check(arrays)
        with self._lock:
            self.flying += 1
            self.most = max(self.most, self.flying)
            self.seen.append(arrays["input_ids"].shape)
        try:
            self.before(dict(arrays))
            return self._answer(arrays["input_ids"], arrays["attention_mask"])
        finally:
            with self._lock:
                self.flying -= 1

    def _answer(self, ids: np.ndarray, mask: np.ndarray) -> Arrays:
        assert mask.any(axis=1).all(), "a row without tokens reached the session"
        junk = np.where(mask == 1, ids, 1e9).astype(np.float32)
        pooled = np.stack([(ids * mask).sum(1), mask.sum(1)], axis=-1).astype(np.float32)
        tokens = np.stack([junk, np.broadcast_to(np.arange(ids.shape[1]), ids.shape)], axis=-1).astype(np.float32)
        every = {2: pooled, 3: tokens}
        return {spec.name: junk if spec is SCORES else every[len(spec.shape)] for spec in self.outputs}

    def submit(self, arrays: Mapping[str, Any]) -> Future[Arrays]:
        with self._lock:
            self.held += 1
            self.most_held = max(self.most_held, self.held)
        future = self._pool.submit(self.run, arrays)
        future.add_done_callback(self._let_go)
        return future

    def _let_go(self, future: Future[Arrays]) -> None:
        with self._lock:
            self.held -= 1

    def report(self) -> dict[str, Any]:
        return {}

    def close(self) -> None:
        self._pool.shutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class TunableSession(ExampleSession):
    """Two streams, and batches of ``tokens``."""

    def __init__(
        self, *outputs: TensorSpec, tokens: int, before: Callable[[Arrays], None] = lambda arrays: None
    ) -> None:
        super().__init__(*outputs, slots=2, before=before)
        self.tuning = Tuning(2, 1, tokens)

    def tune(self, tuning: Tuning) -> None:
        self.tuning, self.slots = tuning, tuning.streams

    def use_huge_pages(self) -> None:
        pass
