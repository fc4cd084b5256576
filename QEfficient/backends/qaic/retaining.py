"""A program on the card whose state stays there between runs: what writes text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from QEfficient import fork
from QEfficient.backends.base import Arrays
from QEfficient.backends.input_check import InputCheck
from QEfficient.backends.owned_state import OwnedState
from QEfficient.backends.qaic.exiting import CardSession, close_at_exit
from QEfficient.backends.qaic.layouts import agreed
from QEfficient.backends.qaic.replica import Replica
from QEfficient.backends.qaic.slot import Layout, Slot
from QEfficient.backends.qaic.whole_state import WholeState
from QEfficient.backends.retained import copy_slot, state_pairs
from QEfficient.backends.state_checks import check_slot, check_state
from QEfficient.errors import DeviceError, OptionError
from QEfficient.records import Json, Manifest


class RetainingSession(OwnedState, CardSession):
    """A program on one device group that keeps state; see :class:`QEfficient.backends.base.Retaining`.

    There is one activation of the program, and the state is in there: :meth:`run` passes no buffer for it, so that only
    the other arrays are moved. Another session of the same program has an activation of its own. A run has one of the
    compiled shapes, and which of the program's specializations runs follows from it.

    What is done to a single slot goes through this host, all slots' state at once:
    :meth:`read` and ``clear()`` move it once, :meth:`write`, :meth:`copy` and ``clear(slot)`` twice, each time in a run
    whose rows are all idle.

    After a :class:`QEfficient.errors.DeviceError` of a run what every slot holds is lost. Calls of several threads wait
    for each other, but they run on the same state.

    Args:
        manifest: What the program was compiled for.
        replicas: One, which is activated here.
        facts: What :meth:`report` adds.

    Attributes:
        inputs, outputs: What :meth:`run` takes and gives: the graph's without state.
        states: The state inputs with their sizes, in the dtype that the card keeps; ``"mxint8"`` is none of numpy's.

    Raises:
        OptionError: There are several replicas.
        DeviceError: The device refuses, or the program and its manifest disagree.
    """

    fixed_shapes, slots = True, 1

    def __init__(
        self, manifest: Manifest, replicas: Sequence[Replica], *, facts: Mapping[str, Json] | None = None
    ) -> None:
        if len(replicas) != 1:
            raise OptionError(
                "A session that keeps state is on one device group.",
                got=f"device_ids for {len(replicas)} groups",
                allowed=f"{len(replicas[0].devices)} device ids",
                do="open the program once for each group: each session then has its own sequences",
            )
        self._replica, self._facts = replicas[0], dict(facts or {})
        pairs = state_pairs(manifest.inputs, manifest.outputs)
        self.inputs = tuple(spec for spec in manifest.inputs if spec.name not in pairs)
        self.outputs = tuple(spec for spec in manifest.outputs if spec.name not in pairs.values())
        self.shapes = manifest.shapes
        self._layouts = agreed(manifest, self._replica.descriptor, pairs)
        key, first = next(iter(self._layouts.items()))  # the smallest
        self._whole = WholeState(self._replica.descriptor, pairs, first, dict(zip(self.inputs, key, strict=True)))
        opaque = bool(manifest.options.flags.get("mxint8_kv_cache"))
        self._kept = [spec for spec in manifest.inputs if spec.name in pairs]
        self.states = self._whole.specs(self._kept, opaque=opaque)
        self._input_check = InputCheck(self.inputs, self.shapes, fixed_shapes=True)
        self._own()
        self._runs = self._bytes_in = self._bytes_out = 0
        self._replica.activate()
        try:
            self._slot = Slot(self._replica)
        except BaseException:
            self._replica.deactivate()
            raise
        fork.in_child(self._after_fork)
        close_at_exit(self)

    def run(self, arrays: Mapping[str, NDArray[np.generic]]) -> Arrays:
        """Input name → array in, output name → new array out; state is neither given nor taken.

        Raises:
            InputError: A name or dtype does not fit, or no compiled shape has these dims.
            DeviceError: The device failed; what every slot holds is lost.
        """
        with self._owned():
            return self._infer(self._layouts[self._input_check.check(arrays)], arrays)

    def _infer(self, layout: Layout, arrays: Mapping[str, NDArray[np.generic]]) -> Arrays:
        if not self._slot.works:
            self._slot.exec_obj = self._replica.make_exec_obj()
        try:
            self._slot.start(layout, arrays)
            results = self._slot.finish()
        except DeviceError as error:
            self._slot.renew()
            raise _lost(error) from error
        except BaseException:  # Ctrl-C, say, while the run goes on
            self._slot.renew()
            raise
        self._runs += 1
        self._bytes_in += layout.bytes_in
        self._bytes_out += layout.bytes_out
        return results

    def read(self, slot: int) -> Arrays:
        """What a slot holds: name → a copy, without the first axis."""
        check_slot(slot, self.states)
        with self._owned():
            return {name: array[slot].copy() for name, array in self._fetch().items()}

    def write(self, slot: int, state: Mapping[str, NDArray[np.generic]]) -> None:
        """Makes a slot hold ``state``, as :meth:`read` gives it."""
        check_slot(slot, self.states)
        self._whole.refuse_opaque(self.states)
        check_state(state, self.states)
        with self._owned():
            found = self._fetch()
            for name, array in found.items():
                array[slot] = state[name]
            self._pass(found)

    def copy(self, source: int, target: int, length: int | None = None) -> None:
        """Makes slot ``target`` hold what ``source`` does: all, or its first ``length`` positions, source and rings."""
        check_slot(source, self.states)
        check_slot(target, self.states)
        with self._owned():
            found = self._fetch()
            copy_slot(self._kept, found, source, target, length)
            self._pass(found)

    def clear(self, slot: int | None = None) -> None:
        """Zeroes a slot, or all."""
        if slot is not None:
            check_slot(slot, self.states)
        self._whole.refuse_opaque(self.states)
        with self._owned():
            if slot is None:
                self._pass({spec.name: np.zeros(tuple(map(int, spec.shape)), spec.dtype) for spec in self.states})
                return
            found = self._fetch()
            for array in found.values():
                array[slot] = 0
            self._pass(found)

    def _fetch(self) -> Arrays:
        """Every slot's state, by input name."""
        self._whole.refuse_opaque(self.states)
        found = self._infer(self._whole.fetching, self._whole.idle())
        self._slot.forget(self._whole.fetching)
        return {name: found[output] for name, output in self._whole.pairs.items()}

    def _pass(self, state: Arrays) -> None:
        self._infer(self._whole.passing, {**self._whole.idle(), **state})
        self._slot.forget(self._whole.passing)

    @property
    def bytes_held(self) -> int:
        """Bytes of all state; of MXINT8 one a number, and one for each 32 that share a scale."""
        return sum(self._whole.bytes_of(spec) for spec in self.states)

    def report(self) -> dict[str, Json]:
        """Device ids, bytes of state, runs and the bytes that they moved between host and device; the facts."""
        moved = {"runs": self._runs, "bytes_in": self._bytes_in, "bytes_out": self._bytes_out}
        return {"devices": [list(self._replica.devices)], "bytes_held": self.bytes_held, **moved, **self._facts}

    def close(self) -> None:
        """Gives the cores back; the state is gone then. A second call does nothing."""
        if fork.process() is not self._process:  # in a child it is the parent's to close
            return
        with self._lock:
            self._closed = True
            self._slot.drop()
            self._replica.deactivate()

    def _after_fork(self) -> None:
        """In a forked child: the parent's device objects are not destroyed here."""
        fork.leak(self._slot, self._replica)


def _lost(error: DeviceError) -> DeviceError:
    return DeviceError(
        f"{error.what} What every slot held is lost.",
        status=error.status,
        got=error.got,
        allowed=error.allowed,
        do=f"prefill every sequence again; {error.do}",
    )
