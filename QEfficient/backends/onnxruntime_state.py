"""A program that keeps state in onnxruntime: its caches are written where they stand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from QEfficient import fork
from QEfficient.backends.base import Arrays
from QEfficient.backends.host_session import check_names
from QEfficient.backends.onnxruntime_session import load, onnxruntime, run_error
from QEfficient.backends.slot_runs import RowSlots
from QEfficient.backends.state_session import StateSession
from QEfficient.records import BATCH_INDEX, POSITION_IDS, ROW_SLOTS, Json

_MOST_VIEWS = 128  # of which the bindings are kept; 16 slots have so many runs of slots side by side


class OnnxRuntimeStateSession(StateSession):
    """A program on the host's CPUs that keeps state; see :class:`QEfficient.backends.state_session.StateSession`.

    A state that its graph reads only where it writes it (``GraphFacts.in_place``) has one buffer, bound as the input
    ``X`` and as the output ``X_RetainedState``: a run then writes its few rows and copies nothing, 0.003 ms instead of
    1.26 ms for 16 MiB. Any other state has two, which change places after each run: so what a graph reads of the old
    state is the old state, in whatever order its nodes run.

    A state whose first dim is called ``records.ROW_SLOTS`` has the slots of a run's rows. Such a graph is run on views
    of the buffers, as often as a call's slots need (``slot_runs``).
    """

    backend = "onnxruntime"

    def _open(self) -> None:
        path, (inputs, outputs) = self._program.joined_path, self._specs
        self._handle = load(path, threads=self._cpus, compute=self._program.manifest.target.compute)
        arguments = self._handle.get_inputs()
        check_names(path, "inputs", inputs, [argument.name for argument in arguments])
        check_names(path, "outputs", outputs, [argument.name for argument in self._handle.get_outputs()])
        in_place = self._program.manifest.graph.in_place
        self._spare = {name: np.empty_like(self._buffers[name]) for name in self._pairs if name not in in_place}
        self._of_rows = {one.name for one in arguments if one.name in self._pairs and one.shape[:1] == [ROW_SLOTS]}
        self._slots = self._slots_of_rows() if self._of_rows else None
        self._bindings: dict[tuple[int, int], Any] = {}
        self._bound(0, len(next(iter(self._buffers.values()))))
        fork.in_child(self._after_fork)

    def _slots_of_rows(self) -> RowSlots:
        shapes = {spec.name: spec.shape for spec in self.inputs}
        count, _, length, *_ = self._buffers[next(iter(self._of_rows))].shape
        return RowSlots(
            count=count,
            length=length,
            tokens=tuple(name for name, shape in shapes.items() if shape == shapes[POSITION_IDS]),
            whole=BATCH_INDEX not in shapes and len(self._of_rows) < len(self._pairs),
            fixed=self.fixed_shapes,
        )

    def _call(self, arrays: Mapping[str, NDArray[np.generic]]) -> Arrays:
        slots = self._slots
        if slots is None:
            return self._run(arrays, 0, len(self._buffers[next(iter(self._pairs))]))
        runs = [(run, self._run(slots.inputs(run, arrays), run.first, run.rows)) for run in slots.runs(arrays)]
        return slots.results(runs, len(arrays[POSITION_IDS]))

    def _run(self, arrays: Mapping[str, NDArray[np.generic]], first: int, rows: int) -> Arrays:
        """One run; of states of rows it has so many slots from the first one on."""
        binding = self._bound(first, rows)
        held = [np.ascontiguousarray(array) for array in arrays.values()]  # the binding keeps no reference
        for name, array in zip(arrays, held, strict=True):
            binding.bind_cpu_input(name, array)
        for spec in self.outputs:
            binding.bind_output(spec.name)  # anew: it would write into the last run's, of another shape
        try:
            self._handle.run_with_iobinding(binding)
        except Exception as error:  # onnxruntime's exceptions have no common class below Exception
            raise run_error(error) from error
        for name in self._spare:
            self._buffers[name], self._spare[name] = self._spare[name], self._buffers[name]
        found = binding.get_outputs_as_ortvaluevector()  # in the order in which they were first bound: state first
        return {spec.name: found[len(self._pairs) + place].numpy() for place, spec in enumerate(self.outputs)}

    def _bound(self, first: int, rows: int) -> Any:
        """A binding of all state; that with two buffers is bound as it stands now."""
        known = self._bindings.get((first, rows))
        if known is not None:
            if self._spare:
                self._bind(known, self._spare, slice(None))
            return known
        if len(self._bindings) >= _MOST_VIEWS:
            self._bindings.clear()
        binding = self._handle.io_binding()
        self._bind(binding, self._pairs, slice(first, first + rows))
        self._bindings[first, rows] = binding
        return binding

    def _bind(self, binding: Any, names: Iterable[str], slots: slice) -> None:
        value = onnxruntime().OrtValue.ortvalue_from_numpy  # shares the array's memory
        for name in names:
            buffer, spare = self._buffers[name], self._spare.get(name)
            read = value(buffer[slots] if name in self._of_rows else buffer)
            binding.bind_ortvalue_input(name, read)
            binding.bind_ortvalue_output(self._pairs[name], read if spare is None else value(spare))

    def _free(self) -> None:
        del self._handle
        self._bindings.clear()
        self._spare = {}

    def _facts(self) -> dict[str, Json]:
        return {"onnxruntime": str(onnxruntime().__version__), "in_place": not self._spare}

    def _after_fork(self) -> None:
        """In a forked child: the runtime's threads stayed behind."""
        if not self._closed:
            fork.leak(self._handle, self._bindings)
