"""A decoder in OpenVINO whose caches are blocks: a token's cost follows its own position, and no row is padded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from QEfficient import fork
from QEfficient.backends import huge_pages, openvino_paged, paged
from QEfficient.backends import openvino_graph as graphs
from QEfficient.backends.base import Arrays
from QEfficient.backends.host_session import check_names
from QEfficient.backends.openvino_session import check_ids, places
from QEfficient.backends.openvino_state import OpenVinoStateSession
from QEfficient.backends.refusals import refused
from QEfficient.backends.slot_runs import RowSlots, fill
from QEfficient.records import BATCH_INDEX, NUM_LOGITS_TO_KEEP, POSITION_IDS, Json, TensorSpec
from QEfficient.records.paged import BLOCK, LOGIT_ROWS, PAGED_INPUTS


class OpenVinoPagedSession(OpenVinoStateSession):
    """As :class:`OpenVinoStateSession`, of the graph that ``onnx_transforms.paged`` writes, for shapes that are free.

    A slot's part of a buffer is its blocks, and its positions behind the last block's end are nobody's. In bf16 the
    buffers are too, as numpy's uint16; state is read and written in float32 all the same.
    """

    def _open(self) -> None:
        path, compute = self._program.paged_path, self._program.manifest.target.compute
        assert path is not None
        model = openvino_paged.read(path, compute)
        inputs = [spec for spec in self._specs[0] if spec.name not in (BATCH_INDEX, NUM_LOGITS_TO_KEEP)]
        found = {name: place for place, port in enumerate(model.inputs) for name in port.get_names()}
        check_names(path, "inputs", inputs, [name for name in found if name not in (LOGIT_ROWS, *PAGED_INPUTS)])
        outputs = places(model.outputs, self.outputs)
        check_names(path, "outputs", self.outputs, [*outputs, *["?"] * (len(model.outputs) - len(outputs))])
        self._inputs, self._outputs, self._tables = found, outputs, graphs.tables(model)
        self._vocabulary = model.outputs[0].get_partial_shape()[-1].get_length()
        compiled = graphs.compiled(model, compute, streams=1, threads=self._cpus, keeps_state=True)
        self._request = compiled.create_infer_request()
        self._tensor, ov = graphs.openvino().Tensor, graphs.openvino()
        for name, buffer in self._buffers.items():
            blocks = buffer.reshape(-1, *buffer.shape[2:])
            kind = ov.Type.bf16 if self._is_half else ov.Type.f32
            self._request.set_input_tensor(found[name], self._tensor(blocks, ov.Shape(blocks.shape), kind))
        spec = self.states[0]
        self._slots = RowSlots(int(spec.shape[0]), int(spec.shape[2]), (), whole=False, fixed=False)
        fork.in_child(self._after_fork)

    @cached_property
    def _is_half(self) -> bool:
        """Whether caches are in bf16."""
        return graphs.is_half(self._program.manifest.target.compute)

    def _call(self, arrays: Mapping[str, NDArray[np.generic]]) -> Arrays:
        kept = len(arrays[NUM_LOGITS_TO_KEEP]) if NUM_LOGITS_TO_KEEP in arrays else 1
        blocks = paged.blocks_of(self._slots.length)
        runs = [paged.paged_run(pieces, arrays, kept, blocks) for pieces in self._slots.rounds(arrays)]
        for run in runs:
            for name, rows in self._tables.items():
                check_ids(name, run.arrays[name], rows)
        results = np.zeros((len(arrays[POSITION_IDS]), kept, self._vocabulary), np.float32)
        fill(results, [part for run in runs for part in self._run(run)])
        return {self.outputs[0].name: results}

    def _run(self, run: paged.PagedRun) -> Iterator[tuple[int, NDArray[np.generic]]]:
        """Row → logits of its last tokens, of each piece of a run."""
        try:
            for name, array in run.arrays.items():
                self._request.set_input_tensor(self._inputs[name], self._tensor(array, shared_memory=True))
            self._request.infer()
        except RuntimeError as error:
            raise refused(f"openvino {graphs.version()}", "run", error) from error
        logits = self._request.get_output_tensor(0).data[:, 0].copy()  # the next run writes there
        ends = np.cumsum(run.counts)
        yield from zip(run.rows, np.split(logits, ends[:-1]), strict=True)

    # ------------------------------------------------------------------------------------------ state

    def new_buffer(self, spec: TensorSpec) -> NDArray[np.generic]:
        """Blocks of each slot, ``(slots, blocks, heads, BLOCK, width)``."""
        slots, heads, positions, width = map(int, spec.shape)
        shape = (slots, paged.blocks_of(positions), heads, BLOCK, width)
        if self.initial == 0.0:
            return huge_pages.zeros(shape, "uint16" if self._is_half else spec.dtype)
        filled = np.full(shape, self.initial, np.float32)
        return paged.as_bf16(filled) if self._is_half else filled

    def _read(self, spec: TensorSpec, held: NDArray[np.generic]) -> NDArray[np.generic]:
        found = paged.read_blocks(held, int(spec.shape[2]))
        return paged.from_bf16(found.view(np.uint16)) if self._is_half else found

    def _write(self, held: NDArray[np.generic], state: NDArray[np.generic]) -> None:
        paged.write_blocks(held, paged.as_bf16(state.astype(np.float32)) if self._is_half else state)

    def _copy(self, source: int, target: int, length: int | None) -> None:
        positions = self._slots.length if length is None else min(length, self._slots.length)
        for buffer in self._buffers.values():
            paged.copy_blocks(buffer[source], buffer[target], positions)

    def _bytes(self, spec: TensorSpec) -> int:
        return super()._bytes(spec) // (2 if self._is_half else 1)

    def _facts(self) -> dict[str, Json]:
        return super()._facts() | {"paged": True}
