"""``QAICInferenceSession``: a compiled program under the name and signature that people know."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from QEfficient import program as programs
from QEfficient.arguments import device_ids
from QEfficient.backends.base import Arrays, OfOneProcess
from QEfficient.backends.input_check import check_dtype
from QEfficient.backends.qaic import native
from QEfficient.backends.qaic.compiler import BINARY
from QEfficient.backends.qaic.descriptor import OPAQUE, Binding, Dims
from QEfficient.backends.qaic.replica import DATA_PATH_TIMEOUT_MS, Replica
from QEfficient.backends.qaic.sdk import find, refuse_other_version
from QEfficient.backends.qaic.slot import SKIPPED, Slot, Slots, from_buffer
from QEfficient.cache import MANIFEST
from QEfficient.errors import DeviceError, InputError, LoadError, OptionError, unknown
from QEfficient.records import Program, Target

_log = logging.getLogger(__name__)


class QAICInferenceSession(OfOneProcess):
    """One program on one device group, with buffers that stay set from run to run. For one thread at a time.

    What :meth:`set_buffers` sets, outputs included, stays until it is set again. An output that was never set gets its
    size from the compiled shape that fits the inputs, an input that was never set is zeros.

    Args:
        qpc_path: The folder with ``programqpc.bin``, or a program's folder.
        device_ids: The devices that the program spans together; ``None`` takes ready ones.
        activate: Take the devices' cores at once; else :meth:`activate` does.
        enable_debug_logs: Ask the runtime for debug logs.
        data_path_timeout_ms: How long the runtime waits for the device.

    Attributes:
        input_names, output_names: In order of their index.
        bindings: The runtime's own binding messages, by index.
        binding_index_map: Name → index.
        allowed_shapes: One entry a compiled shape: ``(itemsize, dims)`` of each binding; empty for a single shape.
        is_active: Whether it holds cores.

    Raises:
        LoadError: There is no program at ``qpc_path``.
        StaleProgramError: Another SDK version compiled it, as its manifest says.
        BackendUnavailableError: The SDK's runtime is not here.
        DeviceError: A device refuses.
    """

    def __init__(
        self,
        qpc_path: str | os.PathLike[str],
        device_ids: Sequence[int] | None = None,
        activate: bool = True,
        enable_debug_logs: bool = False,
        data_path_timeout_ms: int = DATA_PATH_TIMEOUT_MS,
    ) -> None:
        folder, program = _locate(Path(qpc_path).expanduser().absolute())
        sdk = find()
        runtime = native.load(sdk)
        if program is not None:
            refuse_other_version(program, sdk)
        target = program.manifest.target if program is not None else None
        devices = _devices(runtime, target, device_ids)
        self._replica = Replica(runtime, folder, devices, timeout_ms=data_path_timeout_ms, debug=enable_debug_logs)
        self._slots: Slots | None = None
        self._slot: Slot | None = None  # leased from activate() to deactivate()
        described = self._replica.descriptor
        self._state = {*described.pairs, *described.pairs.values()}
        # nobody knows how such state looks to a host
        self._sticky: dict[str, tuple[bytes, Dims]] = {
            b.name: (b"", SKIPPED) for b in described.bindings if b.dtype == OPAQUE
        }
        self._by_name = {binding.name: binding for binding in described.bindings}
        self.bindings: list[Any] = sorted(described.raw.selected_set.bindings, key=lambda b: b.index)
        self.binding_index_map = {binding.name: binding.index for binding in described.bindings}
        self.input_names = [binding.name for binding in described.bindings if binding.is_input]
        self.output_names = [binding.name for binding in described.bindings if not binding.is_input]
        self.allowed_shapes = [described.sized(shapes) for shapes in described.allowed]
        if activate:
            self.activate()

    @property
    def is_active(self) -> bool:
        """Whether it holds cores."""
        return self._slot is not None and self._slot.works

    def activate(self) -> None:
        """Take the devices' cores. Again is no effect."""
        if self.is_active:
            return
        self._replica.activate()
        try:
            self._slots = Slots(self._replica, 1)
        except DeviceError:
            self._replica.deactivate()
            raise
        self._slot = self._slots.lease()

    def deactivate(self) -> None:
        """Give the cores back. Again is no effect; :meth:`activate` takes them anew."""
        if self._slots is not None and self._slot is not None:
            self._slots.give_back(self._slot)
            self._slots.drop()  # the ExecObj first: a program with one can't be deactivated
            self._slot = None
        self._replica.deactivate()

    def set_buffers(self, buffers: Mapping[str, NDArray[Any]]) -> None:
        """Set inputs, and for outputs the shape that results are read with. They stay set for further runs.

        An empty array of any dtype skips its buffer, as :meth:`skip_buffers` does; and zeros may be of any dtype of the
        same size, since their bytes are the same.

        Raises:
            InputError: An unknown name, another dtype, or no data for a buffer that the program needs.
        """
        checked = {}
        for name, array in buffers.items():
            binding = self._binding(name)
            if isinstance(array, np.ndarray) and not array.size:
                self._refuse_needed(binding)
                checked[name] = (b"", SKIPPED)
                continue
            _check_dtype(array, binding)
            checked[name] = (array.tobytes(), array.shape or (1,))
        self._sticky.update(checked)

    def skip_buffers(self, skipped_buffer_names: Sequence[str]) -> None:
        """Pass no buffer for these; an output among them is left out of the results.

        State is so left on the device: skip each input ``X`` and each output ``X_RetainedState`` once, before the first
        run. It lasts from :meth:`activate` to :meth:`deactivate`; what it is before a run writes it is not defined, and
        after a run that failed it is lost.

        Raises:
            InputError: An unknown name, or one that the program does not let go.
        """
        for name in skipped_buffer_names:
            self._refuse_needed(self._binding(name))
        self._sticky.update({name: (b"", SKIPPED) for name in skipped_buffer_names})

    def _refuse_needed(self, binding: Binding) -> None:
        if binding.name in self._state:
            if not binding.partial:  # whether a program with one shape says so is not documented
                _log.warning("The program does not say that %r, which is state, may be skipped.", binding.name)
        elif binding.is_input or not binding.partial:
            others = [b.name for b in self._by_name.values() if b.partial and not b.is_input]
            raise InputError(
                f"The program needs the buffer {binding.name!r}.",
                got="no data",
                allowed=", ".join(sorted({*others, *self._state})) or "no buffer can be skipped",
                do="set it to an array of a compiled shape",
            )

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> Arrays:
        """Set ``inputs`` and run once.

        Returns:
            Output name → new array.

        Raises:
            InputError: A name, dtype or combination of shapes does not fit.
            DeviceError: The session is not active, or the device failed.
        """
        self.set_buffers(inputs)
        if self._slot is None or not self._slot.works:
            raise DeviceError(
                "The session is not active.",
                got="is_active=False",
                allowed="an active session",
                do="call activate() first",
            )
        shapes = self._shapes()
        bindings = self._by_name.values()
        buffers = [
            self._sticky[b.name][0] if b.name in self._sticky else bytes(b.bytes_of(shape))
            for b, shape in zip(bindings, shapes, strict=True)
        ]
        try:
            results = self._slot.execute(buffers, shapes)
        except BaseException:  # also Ctrl-C
            self._slot.renew()
            if not self._slot.works:
                _log.warning("The session is not active any more: the runtime makes no new ExecObj.")
            raise
        return {
            b.name: from_buffer(results, b, shape).copy()
            for b, shape in zip(bindings, shapes, strict=True)
            if not b.is_input and shape != SKIPPED
        }

    def _shapes(self) -> tuple[Dims, ...]:
        """One shape a binding: as set, the others from the compiled shape that fits."""
        described = self._replica.descriptor
        given = {name: shape for name, (_, shape) in self._sticky.items()}
        # a partial buffer of a program with one shape may be smaller than that
        fixed = {
            name: shape
            for name, shape in given.items()
            if shape != SKIPPED and (described.allowed or not self._by_name[name].partial)
        }
        match = described.match(fixed)
        if match is None:
            raise InputError(
                "The program was not compiled for these shapes together.",
                got=given,
                allowed=" or ".join(
                    str({b.name: s for b, s in zip(described.bindings, entry, strict=True)})
                    for entry in described.shapes
                ),
                do="pad to one of them, and set each buffer again whose shape changes",
            )
        return tuple(given.get(b.name, shape) for b, shape in zip(described.bindings, match, strict=True))

    def _binding(self, name: str) -> Binding:
        if name not in self._by_name:
            raise unknown(InputError, f"The program has no buffer {name!r}.", name, self._by_name)
        return self._by_name[name]


def _check_dtype(array: object, binding: Binding) -> None:
    if binding.dtype == OPAQUE:
        raise InputError(
            f"The state {binding.name!r} can't be passed: how it looks to a host is not documented.",
            got=f"an array for a type {binding.dtype}",
            allowed="no data: it stays on the device",
            do=f"skip_buffers([{binding.name!r}]), or compile without mxint8_kv_cache",
        )
    if isinstance(array, np.ndarray) and array.itemsize == binding.item_size and not array.any():
        return
    check_dtype(binding.name, array, binding.dtype)


def _locate(path: Path) -> tuple[Path, Program | None]:
    """The folder with ``programqpc.bin``, and the program that it belongs to where there is a manifest."""
    for folder in (path, *path.parents[:2]):
        if (folder / MANIFEST).is_file():
            program = programs.load(folder)
            found = [program.only(name) for name in program.manifest.graphs]
            named = found if path == folder else [one for one in found if one.binary_path == path]
            if len(named) == 1 and (binary := named[0].binary_path) is not None:
                return binary, named[0]
    if not (path / BINARY).is_file():
        raise LoadError(
            "There is no compiled program for the card in this folder.",
            got=str(path),
            allowed=f"a folder with {BINARY}, or the folder of a program with one graph for the card",
            do="pass what compile(backend='qaic') returned",
        )
    return path, None


def _devices(runtime: native.Runtime, target: Target | None, ids: Sequence[int] | None) -> tuple[int, ...]:
    ids = None if ids is None else device_ids(ids)
    if ids == ():
        raise OptionError("device_ids is empty.", got=[], allowed="None or at least one id", do="leave device_ids out")
    span = len(ids) if ids is not None else target.devices if target else 1
    cores = target.cores if target else 1
    return native.replicas(native.query_devices(runtime), span, cores, ids)[0]
