"""A program that keeps state in OpenVINO: state goes in and comes out as any other array, and is kept between runs.

OpenVINO's scatter copies what it writes into, so nothing is gained by handing it one buffer for both.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from QEfficient import fork
from QEfficient.backends import openvino_graph as graphs
from QEfficient.backends.base import Arrays
from QEfficient.backends.openvino_session import check_ids, load, places
from QEfficient.backends.refusals import refused
from QEfficient.backends.state_session import StateSession
from QEfficient.records import Json


class OpenVinoStateSession(StateSession):
    """A program on the host's CPUs that keeps state; see :class:`QEfficient.backends.state_session.StateSession`."""

    backend = "openvino"

    def _open(self) -> None:
        model = load(self._program.joined_path, *self._specs, self.shapes)
        self._tables = graphs.tables(model)
        inputs, outputs = self._specs
        self._inputs, self._outputs = places(model.inputs, inputs), places(model.outputs, outputs)
        compute = self._program.manifest.target.compute
        compiled = graphs.compiled(model, compute, streams=1, threads=self._cpus, keeps_state=True)
        self._request = compiled.create_infer_request()
        self._tensor = graphs.openvino().Tensor
        for name, buffer in self._buffers.items():
            self._request.set_input_tensor(self._inputs[name], self._tensor(buffer, shared_memory=True))
        fork.in_child(self._after_fork)

    def _call(self, arrays: Mapping[str, NDArray[np.generic]]) -> Arrays:
        for name, rows in self._tables.items():
            if name in arrays:
                check_ids(name, arrays[name], rows)
        try:
            for name, array in arrays.items():
                tensor = self._tensor(array, shared_memory=array.flags.carray)
                self._request.set_input_tensor(self._inputs[name], tensor)
            self._request.infer()
            results = {spec.name: self._result(spec.name).copy() for spec in self.outputs}
            for name, output in self._pairs.items():
                np.copyto(self._buffers[name], self._result(output))
        except RuntimeError as error:
            raise refused(f"openvino {graphs.version()}", "run", error) from error
        return results

    def _result(self, name: str) -> NDArray[np.generic]:
        """An output as it stands in the request: the next run writes there."""
        array: NDArray[np.generic] = self._request.get_output_tensor(self._outputs[name]).data
        return array

    def _free(self) -> None:
        del self._request

    def _facts(self) -> dict[str, Json]:
        return {"openvino": graphs.version()}

    def _after_fork(self) -> None:
        """In a forked child: the runtime's threads stayed behind."""
        if not self._closed:
            fork.leak(self._request)
