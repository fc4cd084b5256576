"""A program in OpenVINO: what it is loaded with, and how it is run."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from QEfficient.backends import openvino_graph as graphs
from QEfficient.backends.base import Arrays
from QEfficient.backends.host_session import HostSession, check_names
from QEfficient.backends.refusals import no_row, refused
from QEfficient.records import Json, Shape, TensorSpec


@dataclass(frozen=True, slots=True)
class _Compiled:
    """A compiled graph, with those of its requests that are free: one for each call at once."""

    model: Any
    places: Mapping[str, int]
    free: deque[Any] = field(default_factory=deque)


class OpenVinoSession(HostSession[_Compiled]):
    """A program on the host's CPUs; see :class:`QEfficient.backends.host_session.HostSession`."""

    backend = "openvino"

    def _open(self, streams: int, threads: int) -> _Compiled:
        model = load(self._path, self.inputs, self.outputs, self.shapes)
        self._tables, self._tensor = graphs.tables(model), graphs.openvino().Tensor
        self._results = list(places(model.outputs, self.outputs).values())
        inputs = places(model.inputs, self.inputs)
        return _Compiled(graphs.compiled(model, self._compute, streams=streams, threads=threads), inputs)

    def _call(self, handle: _Compiled, arrays: Mapping[str, NDArray[np.generic]]) -> Arrays:
        for name, rows in self._tables.items():
            check_ids(name, arrays[name], rows)
        try:
            request = handle.free.pop()
        except IndexError:
            request = handle.model.create_infer_request()
        try:
            for name, array in arrays.items():
                # as it stands, where OpenVINO can have it so
                tensor = self._tensor(array, shared_memory=array.flags.carray)
                request.set_input_tensor(handle.places[name], tensor)
            request.infer()
            return {
                spec.name: request.get_output_tensor(place).data.copy()  # the next run writes there
                for spec, place in zip(self.outputs, self._results, strict=True)
            }
        except RuntimeError as error:
            raise refused(f"openvino {graphs.version()}", "run", error) from error
        finally:
            handle.free.append(request)

    def _facts(self) -> dict[str, Json]:
        return {"openvino": graphs.version()}


def load(path: Path, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], shapes: Sequence[Shape]) -> Any:
    """The graph as an ``openvino.Model``, held against what the manifest says of it.

    Raises:
        CorruptArtefactError: A file is missing, short, altered or outside the folder, or the two differ.
        DeviceError: OpenVINO does not know an operator of it.
    """
    model = graphs.read(path)
    for what, found, specs in (("inputs", model.inputs, inputs), ("outputs", model.outputs, outputs)):
        known = places(found, specs)
        check_names(path, what, specs, [*known, *_others(found, known)])
    graphs.check_longest(model, path, inputs, shapes)
    return model


def places(ports: Sequence[Any], specs: Sequence[TensorSpec]) -> dict[str, int]:
    """Name of each of ``specs`` that is there → its place among a model's inputs or outputs."""
    return {spec.name: place for spec in specs for place, port in enumerate(ports) if spec.name in port.get_names()}


def _others(ports: Sequence[Any], known: Mapping[str, int]) -> list[str]:
    """Names of the ports that are not known."""
    return [sorted(port.get_names() or {"?"})[0] for place, port in enumerate(ports) if place not in known.values()]


def check_ids(name: str, ids: NDArray[Any], rows: int) -> None:
    """OpenVINO itself takes a row of zeros for an id past the end of a table, and says nothing.

    A model's own methods have checked their rows before (``runtime.tables``); this is for who opens a session alone.
    """
    if int(np.max(ids)) >= rows or int(np.min(ids)) < -rows:
        raise no_row(f"{name} from {np.min(ids)} to {np.max(ids)}, for a table of {rows} rows")
