"""Every error that the library raises, in one tree.

    QEfficientError
    ├── UsageError (ValueError)             an argument of a call
    │   ├── InputError                      arrays or texts: names, dtype, shape, mask, length
    │   ├── OptionError                     a keyword of compile: unknown, or a value out of range
    │   └── PoolingError                    a pooling that is unknown or does not fit
    ├── ModelError (RuntimeError)           a model on its way to ONNX
    │   ├── LoadError                       its files are missing, unreadable or of a foreign kind
    │   ├── TransformError                  a block or a graph pass failed
    │   ├── ExportError                     the exporter refused it
    │   └── NumericsError                   NaN, Inf, or numbers that differ from HuggingFace's
    │       ├── VerificationError           a program past its limits; holds what was found
    │       └── CompressionRefusedError     a smaller model that scores too much less; holds the scores
    ├── ArtefactError (RuntimeError)        a program folder or an entry of the cache
    │   ├── ManifestError                   qefficient.json is missing, edited or malformed
    │   ├── StaleProgramError               another manifest format, or another SDK
    │   ├── CorruptArtefactError            a file is missing, short, altered or outside the folder
    │   └── CacheError                      the cache can't be read or written
    ├── BackendError (RuntimeError)         what compiles and runs
    │   ├── UnknownBackendError             no such name
    │   ├── BackendUnavailableError         known, but something it needs is not here
    │   ├── CompileError                    the compiler failed; keeps command, exit code and output
    │   └── DeviceError                     the device or its runtime failed; keeps the status
    ├── MissingExtraError (ImportError)     an optional package is not installed
    └── NotYetSupportedError (NotImplementedError)  a known name that is not built yet

Each message answers four questions: what happened, which value, what is allowed, what to do next.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Any, TypedDict, TypeVar, Unpack

E = TypeVar("E", bound="QEfficientError")


class Said(TypedDict, total=False):
    """What :class:`QEfficientError` takes beside what happened; each class below passes it on."""

    got: object
    allowed: str | None
    do: str | None


class QEfficientError(Exception):
    """The root of the tree.

    Args:
        what: What happened, as one sentence.
        got: The value that was met; shown with ``repr`` unless it is a string.
        allowed: What would have been accepted.
        do: What to do next.
    """

    def __init__(self, what: str, *, got: object = None, allowed: str | None = None, do: str | None = None) -> None:
        self.what, self.got, self.allowed, self.do = what, got, allowed, do
        super().__init__(what, got, allowed, do)

    def __reduce__(self) -> tuple[Any, ...]:
        """An error comes whole out of another process; of a value that can't travel, its text does."""
        import pickle  # loaded by whoever pickles

        state = dict(vars(self))
        try:
            pickle.dumps(state)
        except Exception:  # whatever the value's own class raises
            state["got"] = self.got if isinstance(self.got, str) else repr(self.got)
        return _raised_again, (type(self), state)

    def __str__(self) -> str:
        lines = [self.what]
        if self.got is not None:
            lines.append(f"  got:     {self.got if isinstance(self.got, str) else repr(self.got)}")
        if self.allowed is not None:
            lines.append(f"  allowed: {self.allowed}")
        if self.do is not None:
            lines.append(f"  do:      {self.do}")
        return "\n".join(lines)


def _raised_again(cls: type[QEfficientError], state: dict[str, Any]) -> QEfficientError:
    error = cls.__new__(cls, *(state[name] for name in ("what", "got", "allowed", "do")))
    vars(error).update(state)
    return error


class UsageError(QEfficientError, ValueError):
    """An argument of a call can't be used."""


class InputError(UsageError):
    """The arrays or texts handed in can't be run as they are."""


class OptionError(UsageError):
    """A keyword of ``compile`` is unknown or its value is out of range."""


class PoolingError(UsageError):
    """A pooling is unknown, or does not fit the model or the saved program."""


class ModelError(QEfficientError, RuntimeError):
    """Something went wrong between the model's files and its ONNX graph."""


class LoadError(ModelError):
    """The model's files are missing, unreadable or of a kind that is not supported."""


class TransformError(ModelError):
    """A block swap or a graph pass failed."""


class ExportError(ModelError):
    """The ONNX exporter refused the model."""


class NumericsError(ModelError):
    """NaN, Inf, or numbers that differ from the reference.

    Attributes:
        rows: The rows that it is about, where a call was run.
    """

    def __init__(self, what: str, *, rows: Sequence[int] = (), **said: Unpack[Said]) -> None:
        super().__init__(what, **said)
        self.rows = tuple(rows)


class VerificationError(NumericsError):
    """A program does not hold its limits.

    Attributes:
        verification: What was found, a ``QEfficient.numerics.verify.Verification``; ``None`` where shapes differ.
    """

    def __init__(self, what: str, *, verification: Any, **said: Unpack[Said]) -> None:
        super().__init__(what, **said)
        self.verification = verification


class CompressionRefusedError(NumericsError):
    """A model that was made smaller scores less than its guard allows. It was not kept.

    Attributes:
        drops: What was measured before and after, each a ``QEfficient.compress.guard.Drop``.
    """

    def __init__(self, what: str, *, drops: Sequence[Any] = (), **said: Unpack[Said]) -> None:
        super().__init__(what, **said)
        self.drops = tuple(drops)


class ArtefactError(QEfficientError, RuntimeError):
    """A program folder or a cache entry can't be used."""


class ManifestError(ArtefactError):
    """``qefficient.json`` is missing, edited or malformed."""


class StaleProgramError(ArtefactError):
    """The program was made by another manifest format or another SDK version."""


class CorruptArtefactError(ArtefactError):
    """A file of the folder is missing, short, altered or points outside of it."""


class CacheError(ArtefactError):
    """The cache can't be read or written."""


class BackendError(QEfficientError, RuntimeError):
    """What compiles and runs programs failed."""


class UnknownBackendError(BackendError, ValueError):
    """No backend has this name."""


class BackendUnavailableError(BackendError):
    """The backend is known, but something that it needs is not on this machine."""


class CompileError(BackendError):
    """The compiler failed. Its command, exit code and output are kept.

    Attributes:
        command: The argument vector, as run.
        exit_code: The compiler's exit code; ``None`` when it was stopped.
        stdout, stderr: What it printed.
        log_file: Where all of it was written, if it was.
    """

    def __init__(
        self,
        what: str,
        *,
        command: Sequence[str] = (),
        exit_code: int | None = None,
        stdout: str = "",
        stderr: str = "",
        log_file: str | None = None,
        **said: Unpack[Said],
    ) -> None:
        super().__init__(what, **said)
        self.command, self.exit_code = tuple(command), exit_code
        self.stdout, self.stderr, self.log_file = stdout, stderr, log_file

    def __str__(self) -> str:
        parts = [super().__str__()]
        if self.command:
            parts.append(f"  command: {' '.join(self.command)}")
            parts.append(f"  exit:    {self.exit_code}")
        if self.log_file:
            parts.append(f"  log:     {self.log_file}")
        for title, text in (("stderr", self.stderr), ("stdout", self.stdout)):
            if text.strip():
                parts.append(f"--- {title} (last lines) ---\n" + "\n".join(text.strip().splitlines()[-30:]))
        return "\n".join(parts)


class DeviceError(BackendError):
    """The device or its runtime reported a failure.

    Attributes:
        status: The runtime's own status, as text (``QS_TIMEDOUT``), where there is one.
        rows: The rows that were run, where a call of several failed; a note of the error names them too.
    """

    def __init__(self, what: str, *, status: str | None = None, **said: Unpack[Said]) -> None:
        said.setdefault("got", status)
        super().__init__(what, **said)
        self.status = status
        self.rows: tuple[int, ...] = ()


class MissingExtraError(QEfficientError, ImportError):
    """An optional package, or a part of the library, is not installed; the message names the line that installs it."""


class NotYetSupportedError(QEfficientError, NotImplementedError):
    """A known name that this version does not build yet."""


def nearest(name: str, known: Sequence[str], limit: int = 3) -> str:
    """``" Did you mean 'a', 'b'?"`` for the names nearest to ``name``, or ``""``."""
    matches = get_close_matches(name, known, n=limit, cutoff=0.6)
    return f" Did you mean {', '.join(repr(m) for m in matches)}?" if matches else ""


def unknown(
    error: type[E], what: str, name: object, known: Iterable[str], *, argument: str = "", do: str = "choose one"
) -> E:
    """The error of a name that is none of the known ones: those nearest to it are suggested, all are listed.

    Args:
        error: Its class.
        what: What happened, as one sentence.
        name: The name that was met.
        known: What would have been accepted.
        argument: What the caller passed it as, where it was an argument.
        do: What to do next.
    """
    names = list(known)
    return error(
        what + nearest(str(name), names),
        got=f"{argument}={name!r}" if argument else name,
        allowed=", ".join(map(repr, names)) or "no name: there are none",
        do=do,
    )
