"""Loads the SDK's Python modules, and asks them for devices.

``qaicrt`` is a compiled extension made for one Python version, ``QAicApi_pb2`` is generated code made for one range
of protobuf versions. Either mismatch is an error of its own that names both versions.
"""

from __future__ import annotations

import platform
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from importlib.machinery import EXTENSION_SUFFIXES, SOURCE_SUFFIXES
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from QEfficient import settings
from QEfficient.arguments import device_ids
from QEfficient.backends.qaic.sdk import Sdk, records
from QEfficient.errors import BackendUnavailableError, DeviceError, OptionError

QUERY = "check the device with qaic-util -q, and this user's rights on /dev/accel"
_AGAIN_TRIES, _AGAIN_SECONDS = 5, 0.05


@dataclass(frozen=True, slots=True)
class Runtime:
    """The loaded modules. ``Any`` begins here: neither has types."""

    qaicrt: Any
    api: Any

    def call(self, function: Callable[..., Any], *arguments: Any, doing: str, do: str = QUERY) -> Any:
        """Call a method of the runtime that answers a status, or a status and a value.

        Returns:
            The value, ``None`` where there is none.

        Raises:
            DeviceError: The status is not success; it is kept by name. Or the method throws.
        """
        try:
            answer = function(*arguments)
        except Exception as error:
            raise _thrown(doing, do, error) from error
        finally:
            # the traceback of an error would keep an ExecObj alive, and its program from being deactivated
            del function, arguments
        status, value = answer if isinstance(answer, tuple) else (answer, None)
        if status != self.qaicrt.QStatus.QS_SUCCESS:
            raise DeviceError(
                f"The card's runtime failed to {doing}.", status=status_name(status), allowed="QS_SUCCESS", do=do
            )
        return value


@contextmanager
def guarded(doing: str, *, do: str = QUERY) -> Iterator[None]:
    """Turns what the native module throws into a DeviceError: the types of its exceptions are not documented."""
    try:
        yield
    except Exception as error:
        raise _thrown(doing, do, error) from error


def _thrown(doing: str, do: str, error: Exception) -> DeviceError:
    return DeviceError(
        f"The card's runtime failed to {doing}.", got=f"{type(error).__name__}: {error}", allowed="no exception", do=do
    )


@dataclass(frozen=True, slots=True)
class Device:
    """One device (SoC).

    Attributes:
        id: Its QID.
        ready: Whether it takes programs.
        cores, free_cores: AI cores (NSP) in all and not in use; ``None`` where it does not say.
    """

    id: int
    ready: bool
    cores: int | None = None
    free_cores: int | None = None


_LOADED: dict[Path, Runtime] = {}
_LOADING = threading.Lock()


def load(sdk: Sdk) -> Runtime:
    """The SDK's runtime, loaded once per process.

    Raises:
        BackendUnavailableError: A module is absent, made for another Python, or generated for another protobuf.
    """
    with _LOADING:
        if sdk.root not in _LOADED:
            _LOADED[sdk.root] = Runtime(qaicrt=_load_qaicrt(sdk), api=_load_api(sdk))
        return _LOADED[sdk.root]


def status_name(status: Any) -> str:
    """``QS_BUSY``, from a pybind enum or whatever else stands for it."""
    return str(getattr(status, "name", status))


def _load_qaicrt(sdk: Sdk) -> ModuleType:
    folder = sdk.library_folder
    # EXTENSION_SUFFIXES runs from the exact ABI tag over .abi3.so to the untagged .so
    for suffix in (*EXTENSION_SUFFIXES, *SOURCE_SUFFIXES):
        if (folder / f"qaicrt{suffix}").is_file():
            return _import_qaicrt(folder / f"qaicrt{suffix}")
    others = sorted(folder.glob("qaicrt.*.so"))
    if others:
        raise _other_python(others[0], ", ".join(_python_of(path.name) for path in others))
    raise _absent("The card's runtime (qaicrt) is not on this machine.", f"no qaicrt in {folder}")


def _import_qaicrt(path: Path) -> ModuleType:
    try:
        return _module("qaicrt", path)
    except ImportError as error:
        text = str(error)
        made_for = re.search(r"compiled for Python (\d+\.\d+)", text)  # pybind's own wording
        if made_for or "undefined symbol: _Py" in text or "undefined symbol: Py" in text:
            raise _other_python(path, made_for[1] if made_for else "another version") from error
        raise BackendUnavailableError(
            "The card's runtime (qaicrt) can't be loaded.",
            got=f"{path}: {text}",
            allowed="an extension that loads",
            do=f"let the loader find its libraries: LD_LIBRARY_PATH={path.parent}, or QAIC_LIB for libQAic.so",
        ) from error
    except Exception as error:  # what an extension throws while it starts is not documented
        raise BackendUnavailableError(
            "The card's runtime (qaicrt) fails while it is loaded.",
            got=f"{path}: {type(error).__name__}: {error}",
            allowed="an extension that loads",
            do="check the SDK's installation and driver with qaic-util -q",
        ) from error


def _python_of(file_name: str) -> str:
    """The Python version that an extension's file name is tagged with."""
    tag = re.search(r"cpython-(\d)(\d+)", file_name)
    return f"{tag[1]}.{tag[2]}" if tag else file_name


def _other_python(path: Path, made_for: str) -> BackendUnavailableError:
    return BackendUnavailableError(
        "The card's runtime (qaicrt) is made for another Python.",
        got=f"{path} for Python {made_for}, running Python {platform.python_version()}",
        allowed="the same Python version",
        do=f"run Python {made_for}, or install the SDK release for Python {platform.python_version()}",
    )


def _absent(what: str, got: str) -> BackendUnavailableError:
    return BackendUnavailableError(
        what,
        got=got,
        allowed="qaicrt for this Python, and QAicApi_pb2.py of the same SDK",
        do="install the Platform SDK, or set QEFF_QAIC_SDK to its root",
    )


def _load_api(sdk: Sdk) -> ModuleType:
    path = sdk.python_folder / "QAicApi_pb2.py"
    if not path.is_file():
        raise _absent("The card's runtime is not complete: QAicApi_pb2.py is missing.", str(path))
    try:
        return _module("QAicApi_pb2", path)
    except Exception as error:  # generated code fails with TypeError, ImportError or protobuf's own VersionError
        installed = _protobuf_version()
        header = re.search(r"Protobuf Python Version:\s*(\S+)", path.read_text(errors="replace"))
        made_for = header[1] if header else "before 5.26 (the file names no version)"
        raise BackendUnavailableError(
            "The SDK's QAicApi_pb2.py does not fit the installed protobuf.",
            got=f"generated by protobuf {made_for}, installed protobuf {installed}: {error}",
            allowed="a protobuf that is as new as the one that generated it, of the same major version or the next",
            do="install the SDK release that fits this Python environment, or that protobuf",
        ) from error


def _protobuf_version() -> str:
    try:
        return metadata.version("protobuf")
    except metadata.PackageNotFoundError:
        return "none"


def _module(name: str, path: Path) -> ModuleType:
    spec = spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"no loader for {path}")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def devices(sdk: Sdk) -> tuple[Device, ...]:
    """Every visible device, by id: through ``qaicrt``, else through ``qaic-util``; none when neither tells."""
    try:
        return query_devices(load(sdk))
    except (BackendUnavailableError, DeviceError):
        return parse_query(sdk.query() or "")


def query_devices(runtime: Runtime) -> tuple[Device, ...]:
    """The devices that ``qaicrt.Util`` reports, those alone that ``QAIC_VISIBLE_DEVICES`` lists where it is set.

    What the runtime itself makes of that variable is not documented; its other readers take it as a list of ids.

    Raises:
        UsageError: The variable is no list of ids.
        DeviceError: The query itself failed.
    """
    visible = settings.visible_devices()
    doing = "list the devices"
    with guarded(doing):
        util = runtime.qaicrt.Util()
    try:
        ids = runtime.call(util.getDeviceIds, doing=doing)
    except DeviceError as error:
        if error.status == "QS_NODEV":
            return ()
        raise
    found = [int(ids[i]) for i in range(len(ids))]
    return tuple(_device(runtime, util, number) for number in found if visible is None or number in visible)


def _device(runtime: Runtime, util: Any, number: int) -> Device:
    for _ in range(_AGAIN_TRIES):
        try:
            info = runtime.call(util.getDeviceInfo, number, doing=f"describe device {number}")
        except DeviceError as error:
            if error.status != "QS_AGAIN":
                break
            time.sleep(_AGAIN_SECONDS)  # a device that boots answers so
            continue
        if info.devStatus != runtime.qaicrt.QDevStatus.QDS_READY:
            break
        resources = info.devData.resourceInfo
        return Device(number, ready=True, cores=int(resources.nspTotal), free_cores=int(resources.nspFree))
    return Device(number, ready=False)


def parse_query(text: str) -> tuple[Device, ...]:
    """The visible devices in the text that ``qaic-util -q`` prints."""
    found = []
    for number, record in records(text).items():
        total, free = re.search(r"Nsp Total:\s*(\d+)", record), re.search(r"Nsp Free:\s*(\d+)", record)
        ready = re.search(r"Status:\s*Ready", record) is not None
        found.append(Device(number, ready, int(total[1]) if total else None, int(free[1]) if free else None))
    return tuple(found)


def replicas(found: Sequence[Device], span: int, cores: int, ids: Sequence[int] | None) -> tuple[tuple[int, ...], ...]:
    """Groups of device ids, one a replica of the program.

    Args:
        found: The visible devices.
        span: Devices that one replica uses (``num_devices``).
        cores: Cores that it uses on each.
        ids: The caller's ``device_ids``: a multiple of ``span`` ids, each run of ``span`` is one replica. ``None``
            takes the first ready devices, those with enough free cores before the others.

    Raises:
        OptionError: ``ids`` is empty, repeats an id within a replica, or is not a multiple of ``span``.
        DeviceError: An id is unknown or not ready, or there are too few devices.
    """
    ready = {device.id: device for device in found if device.ready}
    if ids is None:
        free = [d.id for d in ready.values() if d.free_cores is None or d.free_cores >= cores]
        chosen = (free + [i for i in ready if i not in free])[:span]
        if len(chosen) < span:
            raise DeviceError(
                f"The program spans {span} device(s), but not as many are ready.",
                got=f"ready: {sorted(ready)}",
                allowed=f"{span} ready devices",
                do=f"check qaic-util -q{visible_note()}, or compile with a smaller num_devices",
            )
        return (tuple(sorted(chosen)),)
    ids = device_ids(ids)
    groups = tuple(tuple(ids[i : i + span]) for i in range(0, len(ids), span))
    if not ids or any(len(set(group)) != span for group in groups):
        raise OptionError(
            "device_ids does not name whole replicas of the program.",
            got=list(ids),
            allowed=f"a multiple of num_devices={span} ids, different ones within each {span}",
            do="leave device_ids out to let the library choose",
        )
    unknown = [i for i in ids if i not in ready]
    if unknown:
        raise DeviceError(
            "device_ids names a device that is not there or not ready.",
            got=unknown,
            allowed=f"the ready devices {sorted(ready)}",
            do=f"correct device_ids, or check qaic-util -q{visible_note()}",
        )
    return groups


def visible_note() -> str:
    """For an error about devices: what else may hide them, or ``""``."""
    text = settings.QAIC_VISIBLE_DEVICES.get()
    return f" and {settings.QAIC_VISIBLE_DEVICES.name}={text}" if text else ""
