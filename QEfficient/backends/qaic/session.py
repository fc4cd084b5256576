"""A program on the card, behind the library's Session protocol."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future

import numpy as np
from numpy.typing import NDArray

from QEfficient import fork
from QEfficient.backends.base import Arrays
from QEfficient.backends.input_check import InputCheck
from QEfficient.backends.qaic.dispatch import Dispatcher
from QEfficient.backends.qaic.exiting import CardSession, close_at_exit
from QEfficient.backends.qaic.layouts import agreed
from QEfficient.backends.qaic.replica import Replica
from QEfficient.backends.qaic.worker import Inference
from QEfficient.backends.refusals import closed
from QEfficient.errors import DeviceError
from QEfficient.records import Json, Manifest

SLOTS = 4  # one inference computes; the host may be late by the time that three take, where many devices share it


class QaicSession(CardSession):
    """A program on one group of devices or several; see :class:`QEfficient.backends.base.Session`.

    Args:
        manifest: What the program was compiled for.
        connect: Makes one replica per device group; called again in a forked child.
        slots: Inferences in flight per replica.
        facts: What :meth:`report` adds.
    """

    fixed_shapes = True

    def __init__(
        self,
        manifest: Manifest,
        connect: Callable[[], Sequence[Replica]],
        *,
        slots: int = SLOTS,
        facts: Mapping[str, Json] | None = None,
    ) -> None:
        self.inputs, self.outputs, self.shapes = manifest.inputs, manifest.outputs, manifest.shapes
        self._connect, self._per_replica, self._facts = connect, slots, dict(facts or {})
        self._closed = False
        self._begin()
        self._live: Dispatcher | None = None  # dropped and made again in a forked child
        live = self._current()
        self._devices = [list(replica.devices) for replica in live.replicas]
        self._descriptor = live.replicas[0].descriptor
        self._input_check = InputCheck(self.inputs, self.shapes, fixed_shapes=True)
        try:
            self._layouts = agreed(manifest, self._descriptor)
        except BaseException:  # whatever is wrong, the cores go back
            self.close()
            raise
        # one more a replica: its arrays are ready when the first slot gets free
        self.slots = live.slots + len(live.replicas)
        close_at_exit(self)
        fork.in_child(self._after_fork)

    def _begin(self) -> None:
        """Locks of this process."""
        self._lock, self._closing = threading.Lock(), threading.Lock()
        self._closer: int | None = None  # the thread that is in close()

    @property
    def carried(self) -> Mapping[str, str]:
        """Input or output name → dtype that the card has it in: ``custom_IO_list_file`` makes float16 of float32."""
        return {binding.name: binding.dtype for binding in self._descriptor.bindings}

    def _current(self) -> Dispatcher:
        with self._lock:
            if self._closed:
                raise closed()
            if self._live is None:
                self._live = Dispatcher(self._connect(), self._per_replica)
            return self._live

    def run(self, arrays: Mapping[str, NDArray[np.generic]]) -> Arrays:
        """Input name → array in, output name → new array out. Their dims are those of one of its shapes."""
        return self._current().run(self._inference(arrays))

    def submit(self, arrays: Mapping[str, NDArray[np.generic]]) -> Future[Arrays]:
        """As :meth:`run`, in the background. The arrays may not be changed until the result is there."""
        live, inference = self._current(), self._inference(arrays)
        live.submit(inference)
        return inference.future

    def _inference(self, arrays: Mapping[str, NDArray[np.generic]]) -> Inference:
        return Inference(self._layouts[self._input_check.check(arrays)], arrays)

    def report(self) -> dict[str, Json]:
        """Device ids by replica, inferences in flight, what each replica did or failed with; the backend's facts."""
        live = self._live
        running = {} if live is None else {"slots": live.slots, **live.report()}
        return {"devices": self._devices, **running, **self._facts}

    def close(self) -> None:
        """Free the devices. Runs in flight finish first. A second call does nothing, unless Ctrl-C ended the first."""
        with self._lock:
            self._closed = True
        if self._closer == threading.get_ident():  # a signal's handler, in the middle of it
            return
        with self._closing:
            self._closer = threading.get_ident()
            try:
                if self._live is not None:
                    self._live.close()
                self._live = None
            except DeviceError:
                self._live = None
                raise
            finally:
                self._closer = None

    def _after_fork(self) -> None:
        """In a forked child: forget the parent's device objects, to be opened again on the next use."""
        self._begin()  # another thread of the parent may hold the old ones
        if self._live is not None:
            fork.leak(self._live)
            self._live = None
