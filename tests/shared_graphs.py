"""Graphs that a run has exported and checked, by content: whoever needs the same graph again gets a copy.

Half of the suite's time are torch's exports of tiny models, many of them the same. Each test keeps a cache of its
own, cold as ever; what is shared is the work: where a cache has no graph for a key, the run's pool is asked. It is a
cache itself, content-keyed, locked and sealed, the same for all workers. What is copied is a whole entry, so nothing
that a test does to its own reaches another.

Three kinds of test never meet the pool: those marked ``own_exports``, whose subject an export or its check is; those
that run while something is patched, so that no graph of patched code gets in; and child processes, but for the one
that runs the blocks of the documents.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import pytest

from QEfficient.cache import Cache
from QEfficient.records import Json

MARKER = "own_exports"
_PATCHES = ("setattr", "delattr", "setitem", "delitem")


class SharedGraphs:
    """The pool, and whether it may be used now.

    Args:
        folder: The pool's cache.

    Attributes:
        allowed: Of the test that runs.
        patched: Whoever patches something at the moment.
        given: How many graphs were copied that somebody else had put in.
    """

    allowed: ClassVar[bool] = True

    def __init__(self, folder: Path) -> None:
        self.pool = Cache(folder)
        self.patched: set[int] = set()
        self.given = 0

    @property
    def open(self) -> bool:
        """Whether a graph may be put in or taken out now."""
        return self.allowed and not self.patched

    def get_or_build(
        self,
        own: Callable[..., tuple[Path, bool]],
        cache: Cache,
        name: str,
        stage: str,
        key: Mapping[str, Json],
        build: Any,
    ) -> tuple[Path, bool]:
        """In place of the cache's: an export that the pool has is copied from there."""
        if stage != "onnx" or "opset" not in key or cache.home == self.pool.home or not self.open:
            return own(cache, name, stage, key, build)

        def from_pool(work: Path) -> None:
            folder, known = own(self.pool, "graph", stage, key, build)
            self.given += known
            shutil.copytree(folder, work, dirs_exist_ok=True)

        return own(cache, name, stage, key, from_pool)

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """While it is entered, caches ask the pool, and patches are watched."""
        own = Cache.get_or_build
        with pytest.MonkeyPatch.context() as patch:
            for name in _PATCHES:
                patch.setattr(pytest.MonkeyPatch, name, self._noted(getattr(pytest.MonkeyPatch, name)))
            patch.setattr(pytest.MonkeyPatch, "undo", self._undone(pytest.MonkeyPatch.undo))
            patch.setattr(Cache, "get_or_build", lambda cache, *given: self.get_or_build(own, cache, *given))
            self.patched.clear()  # of this very patch
            yield

    def _noted(self, method: Callable[..., None]) -> Callable[..., None]:
        def noted(patch: pytest.MonkeyPatch, *args: Any, **keywords: Any) -> None:
            if not args or args[0] is not os.environ:  # a variable is no code
                self.patched.add(id(patch))
            method(patch, *args, **keywords)

        return noted

    def _undone(self, method: Callable[..., None]) -> Callable[..., None]:
        def undone(patch: pytest.MonkeyPatch) -> None:
            method(patch)
            self.patched.discard(id(patch))

        return undone

    def check(self) -> None:
        """Every entry is as it was put in.

        Raises:
            AssertionError: Names those that are not.
        """
        problems = {str(entry.path): problem for entry, problem in self.pool.verify() if problem is not None}
        assert not problems, problems
