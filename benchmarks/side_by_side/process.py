"""The other end of ``worker.py``: starts one, and asks it."""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

WORKER = Path(__file__).with_name("worker.py")


class WorkerError(Exception):
    """A worker could not do what it was asked, or ended."""


class Worker:
    """A long-lived process that holds one model; ``hello`` is what it says of itself once that is loaded.

    Args:
        command: What to start; it speaks the protocol of ``worker.py``.
        environment: Its environment variables.
    """

    def __init__(self, command: list[str], environment: Mapping[str, str]) -> None:
        self.complaint: IO[bytes] = tempfile.TemporaryFile()
        self.started = time.perf_counter()
        self.child = subprocess.Popen(
            command, env=dict(environment), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.complaint
        )
        try:
            self.hello = self._read()
        except WorkerError:
            self.close()
            raise

    @classmethod
    def of(cls, python: Path, loader: str, options: Mapping[str, Any], environment: Mapping[str, str]) -> Worker:
        """A worker for a loader, ``module.function`` of a module beside ``worker.py``."""
        return cls([str(python), str(WORKER), loader, json.dumps(dict(options))], environment)

    def ask(self, do: str, **more: Any) -> dict[str, Any]:
        """One request, and its answer.

        Raises:
            WorkerError: It failed; the message is the worker's own.
        """
        assert self.child.stdin
        try:
            self.child.stdin.write(json.dumps({"do": do, **more}).encode() + b"\n")
            self.child.stdin.flush()
        except BrokenPipeError as error:
            raise WorkerError(self._last_words()) from error
        return self._read()

    def since_start(self) -> float:
        """Seconds since the process was started."""
        return time.perf_counter() - self.started

    def _read(self) -> dict[str, Any]:
        assert self.child.stdout
        line = self.child.stdout.readline()
        if not line:
            raise WorkerError(self._last_words())
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise WorkerError(answer["error"])
        return answer

    def _last_words(self) -> str:
        status = self.child.wait()
        self.complaint.seek(0)
        return f"ended with {status}: {self.complaint.read().decode(errors='replace')[-2000:]}"

    def close(self) -> None:
        """Ends it; a second call does nothing."""
        for pipe in (self.child.stdin, self.child.stdout):
            if pipe:
                pipe.close()
        try:
            self.child.wait(10)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
        self.complaint.close()
