"""Runs the card's compiler, through a runner that tests can replace."""

from __future__ import annotations

import contextlib
import logging
import os
import shlex
import shutil
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Protocol

from QEfficient import settings
from QEfficient.backends.qaic.group import Group
from QEfficient.backends.qaic.native import Device
from QEfficient.cache.disk import DISK_FULL
from QEfficient.errors import CompileError, OptionError
from QEfficient.progress import progress_line

BINARY = "programqpc.bin"
LOG = "compiler.log"
_KEPT_LINES = 1000  # of each stream, for the error; the log has all of it
_TICK_SECONDS = 0.2
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Completed:
    """How a run ended. ``exit_code`` is ``None`` when it was stopped for taking too long."""

    exit_code: int | None
    stdout: str
    stderr: str


class Runner(Protocol):
    """Runs a command to its end."""

    def __call__(self, argv: Sequence[str], *, cwd: Path, log: Path, timeout: float | None, title: str) -> Completed:
        """Run ``argv`` in ``cwd``, writing all that it prints to ``log`` as it comes.

        Args:
            argv: The command; no shell reads it.
            cwd: Its working folder.
            log: The file to write.
            timeout: Seconds after which it is stopped, ``None`` for never.
            title: What a progress line says.
        """
        ...


def run_subprocess(argv: Sequence[str], *, cwd: Path, log: Path, timeout: float | None, title: str) -> Completed:
    """The default :class:`Runner`: a process group of its own, ended as a whole on timeout, Ctrl-C or our own end."""
    with _log_file(log) as sink, Group() as group:
        process = subprocess.Popen(
            list(argv),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            process_group=group.id,
        )
        streams = _Streams(process, sink)
        try:
            exit_code = _wait(process, timeout, title)
        finally:  # also helpers that the compiler left behind, which would hold its pipes open
            group.end(process)
            stdout, stderr = streams.join()
        return Completed(exit_code, stdout, stderr)


def _log_file(log: Path) -> IO[bytes]:
    """Where the output goes as it comes; nowhere on a disk that takes no more: the end of it is kept in any case."""
    try:
        return open(log, "wb", buffering=0)
    except OSError as error:
        _log.warning("The compiler's log can't be written: %s", error)
        return open(os.devnull, "wb", buffering=0)


class _Streams:
    """Two threads that copy a process' output to the log and keep its last lines."""

    def __init__(self, process: subprocess.Popen[bytes], sink: IO[bytes]) -> None:
        self._sink, self._lock = sink, threading.Lock()
        self._tails: list[deque[bytes]] = []
        self._threads: list[threading.Thread] = []
        for pipe in (process.stdout, process.stderr):
            assert pipe is not None  # both are PIPE
            tail: deque[bytes] = deque(maxlen=_KEPT_LINES)
            thread = threading.Thread(target=self._copy, args=(pipe, tail), name="qaic-compiler-output", daemon=True)
            self._tails.append(tail)
            self._threads.append(thread)
            thread.start()

    def _copy(self, pipe: IO[bytes], tail: deque[bytes]) -> None:
        with pipe:
            for line in pipe:
                tail.append(line)
                with self._lock, contextlib.suppress(OSError):  # a full disk: the compiler must not be held up
                    self._sink.write(line)

    def join(self) -> tuple[str, str]:
        """Wait for the last line; the kept text of stdout and stderr."""
        for thread in self._threads:
            thread.join()
        out, err = (b"".join(tail).decode(errors="replace") for tail in self._tails)
        return out, err


def _wait(process: subprocess.Popen[bytes], timeout: float | None, title: str) -> int | None:
    """The exit code, or ``None`` after ``timeout`` seconds."""
    end = None if timeout is None else time.monotonic() + timeout
    with progress_line(title) as draw:
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                return process.wait(_TICK_SECONDS)
            draw()
            if end is not None and time.monotonic() >= end:
                return None


def compile_program(
    argv: Sequence[str], *, outdir: Path, workdir: Path, title: str, timeout: float | None, runner: Runner
) -> None:
    """Run the compiler; ``outdir`` holds ``programqpc.bin`` afterwards, or nothing is there.

    Args:
        argv: The whole command.
        outdir: The folder that ``-aic-binary-dir`` names. An older one is removed first.
        workdir: The program's folder; the log is written there, and moved to ``<home>/logs`` on failure.
        title: What the progress line says.
        timeout: Seconds, or ``None``.
        runner: What runs it.

    Raises:
        CompileError: It could not start, failed, took too long, or reported success without the file.
    """
    shutil.rmtree(outdir, ignore_errors=True)
    log = workdir / LOG
    _log.info("%s: %s", title, shlex.join(argv))
    try:
        done = runner(argv, cwd=workdir, log=log, timeout=timeout, title=title)
    except OSError as error:
        raise CompileError(
            "The card's compiler can't be started.",
            command=argv,
            got=str(error),
            allowed="an executable of this machine",
            do="check the SDK's installation: the compiler is made for x86-64",
        ) from error
    except BaseException:  # Ctrl-C: nothing half-written stays
        shutil.rmtree(outdir, ignore_errors=True)
        raise
    binary = outdir / BINARY
    if done.exit_code == 0 and binary.is_file() and binary.stat().st_size:
        return
    shutil.rmtree(outdir, ignore_errors=True)
    kept, (what, do) = _keep(log), _explain(done, timeout)
    raise CompileError(
        what,
        command=argv,
        log_file=None if kept is None else str(kept),
        **asdict(done),
        got=f"exit code {done.exit_code}",
        allowed=f"exit code 0 and a {BINARY}",
        do=do,
    )


def _explain(done: Completed, timeout: float | None) -> tuple[str, str]:
    """What happened and what to do, from the messages that the compiler is known to print."""
    text = done.stderr + done.stdout
    if done.exit_code is None:
        return (
            f"The card's compiler was stopped after {timeout:g} s.",
            f"give it longer with {settings.QEFF_COMPILE_TIMEOUT.name}, or 0 for no limit",
        )
    if done.exit_code == 0:
        return f"The card's compiler reported success but wrote no {BINARY}.", "see its output below"
    if "Invalid option" in text:
        return "The card's compiler does not know an option.", "leave it out, or install the SDK that has it"
    full = next((number for number in sorted(DISK_FULL) if os.strerror(number) in text), None)
    if full is not None:
        return (
            f"The card's compiler could not write: {os.strerror(full)}.",
            "free some space (`qefficient cache prune`), or point QEFF_HOME to another disk; it may use TMPDIR too",
        )
    messages = [line.strip() for line in text.splitlines() if line.strip().startswith("Error message:")]
    if messages:
        return (
            f"The card's compiler refused the graph. {messages[0]}",
            "a newer SDK may support it; the graph runs on the host with backend='onnxruntime'",
        )
    if done.exit_code < 0:
        name = signal.strsignal(-done.exit_code)
        return (
            f"The card's compiler was ended by signal {-done.exit_code} ({name}).",
            "see its output below; signal 9 often means that the machine ran out of memory",
        )
    return "The card's compiler failed.", "see its output below"


def _keep(log: Path) -> Path | None:
    """Move the log out of the work folder, which goes when the compile failed."""
    if not log.is_file():
        return None
    folder = settings.home() / "logs"
    kept = folder / f"qaic-{time.strftime('%Y%m%dT%H%M%S')}-{os.getpid()}-{time.monotonic_ns() % 10**6:06}.log"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return Path(shutil.move(log, kept))
    except OSError as error:  # full or read-only: the error below still has the output
        _log.warning("The compiler's log could not be kept: %s", error)
        return None


def check_cores(devices: Sequence[Device], cores: int, span: int = 1) -> None:
    """Refuse a program that the visible devices have too few cores for. Without devices nothing is compared.

    Args:
        devices: What is there.
        cores: Cores that the program needs on each of its devices.
        span: Devices that it needs.

    Raises:
        OptionError: With the number that fits.
    """
    known = sorted((device.cores for device in devices if device.ready and device.cores), reverse=True)
    most = known[min(span, len(known)) - 1] if known else None
    if cores < 1 or (most is not None and cores > most):
        raise OptionError(
            "num_cores does not fit the devices of this machine." if most else "num_cores must be positive.",
            got=cores,
            allowed=f"1 to {most}" if most else "1 or more",
            do=f"compile(num_cores={most or 16})",
        )
