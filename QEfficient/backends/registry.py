"""Backends by name. A backend's module is imported when the backend is asked for."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from types import MappingProxyType

from QEfficient import settings
from QEfficient.backends.base import Backend
from QEfficient.backends.refusals import other_precision
from QEfficient.errors import BackendUnavailableError, MissingExtraError, UnknownBackendError, unknown

AUTO = "auto"
HOSTS = ("onnxruntime", "openvino")  # in the order in which "auto" takes them
log = logging.getLogger("QEfficient")


@dataclass(frozen=True, slots=True)
class BackendEntry:
    """Where a backend is, and how to get what it imports.

    Attributes:
        path: ``"module:Class"``.
        install: The line that installs its packages.
        root: The folder of what is not a package; where there is none ``"auto"`` need not import the backend to ask it.
    """

    path: str
    install: str
    root: Callable[[], Path] | None = None


BACKENDS: Mapping[str, BackendEntry] = MappingProxyType(
    {
        "onnxruntime": BackendEntry("QEfficient.backends.onnxruntime:OnnxRuntimeBackend", "pip install onnxruntime"),
        "openvino": BackendEntry("QEfficient.backends.openvino:OpenVinoBackend", "pip install 'QEfficient[openvino]'"),
        "emulator": BackendEntry("QEfficient.numerics.emulator:EmulatorBackend", "pip install onnxruntime onnx-ir"),
        "qaic": BackendEntry("QEfficient.backends.qaic:QaicBackend", "pip install protobuf", settings.qaic_sdk),
    }
)


def names() -> tuple[str, ...]:
    """The names that ``backend=`` takes, besides ``"auto"``."""
    return tuple(BACKENDS)


@cache
def get(name: str) -> Backend:
    """The backend of this name; one object a process.

    Raises:
        UnknownBackendError: No backend has this name.
        MissingExtraError: A package that it imports is not installed.
        BackendUnavailableError: Its module failed to import.
    """
    entry = BACKENDS.get(name)
    if entry is None:
        do = f"pass one of these as backend=, or set {settings.QEFF_BACKEND.name}"
        raise unknown(UnknownBackendError, f"There is no backend {name!r}.", name, (AUTO, *names()), do=do)
    module, _, kind = entry.path.partition(":")
    try:
        backend: Backend = getattr(import_module(module), kind)()
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"The backend {name!r} needs a package that is not installed.",
            got=f"no module named {error.name!r}",
            allowed="an environment with that package",
            do=entry.install,
        ) from error
    except ImportError as error:
        raise BackendUnavailableError(
            f"The backend {name!r} is known, but failed to import.",
            got=str(error),
            allowed="a module that imports without error",
            do=f"{entry.install}, or import {module} in a shell to see the whole error",
        ) from error
    return backend


def choose(name: str | None = None, compute: str | None = None) -> tuple[Backend, str]:
    """The backend to compile for, and why it was chosen.

    ``"auto"`` takes the card only when its compiler and a ready device are both here, else the host; and of both only
    what computes in the precision that was asked for. Any other name is taken as it is: nothing falls back to another
    backend.

    Args:
        name: A name, ``"auto"``, or ``None`` for the default (``QEFF_BACKEND``, else ``"auto"``).
        compute: The precision that was asked for.
    """
    wish = settings.backend() if name is None else name
    if wish == AUTO:
        backend, reason = _automatic(compute)
    else:
        origin = "backend" if name is not None else settings.QEFF_BACKEND.name
        backend, reason = get(wish), f"asked for: {origin}={wish}"
    _log_once(backend.name, reason)
    return backend, reason


def compute_of(backend: Backend, compute: str | None) -> str:
    """The precision that is asked for, or the backend's default.

    Raises:
        OptionError: The backend does not have it.
    """
    chosen = compute if compute is not None else backend.compute[0]
    if chosen not in backend.compute:
        raise other_precision(backend.name, chosen, backend.compute)
    return chosen


def _automatic(compute: str | None) -> tuple[Backend, str]:
    card, why = _card()
    if card is not None:
        if compute is None or compute in card.compute:
            return card, "auto: the card's compiler and a ready device are here"
        why = f"the card does not compute in {compute}"
    first, *others = HOSTS
    if compute is not None and compute not in get(first).compute:
        for name in others:
            if compute in get(name).compute:
                return get(name), f"auto: {why}; of the host's backends {name} computes in {compute}"
    return get(first), f"auto: {why}; {first} is part of every installation"


def _card() -> tuple[Backend | None, str]:
    """The card's backend where it is ready, else why not."""
    needed = BACKENDS["qaic"].root
    if needed is not None and not (root := needed()).is_dir():
        return None, f"no card ({root} is not there)"
    try:
        card = get("qaic")
    except (MissingExtraError, BackendUnavailableError) as error:
        return None, f"no card backend ({error.what} {error.got})"
    for can in (card.can_compile, card.can_run):
        if not (availability := can()).ok:
            return None, f"no card ({availability.reason})"
    return card, ""


@cache
def _log_once(name: str, reason: str) -> None:
    log.info("backend %s; %s", name, reason)
