"""Moving a program's state as a whole between card and host, which is the one way that a card has.

A run fetches it when its ``_RetainedState`` outputs have buffers, and overwrites it when its state inputs have. All
rows of such a run are idle (``position_ids``, ``batch_index`` and ``encoder_input_ids`` are -1): it changes nothing
that is attended to.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from QEfficient.backends.base import Arrays
from QEfficient.backends.qaic.descriptor import OPAQUE, Descriptor, Dims
from QEfficient.backends.qaic.slot import Layout
from QEfficient.errors import UsageError
from QEfficient.records import BATCH_INDEX, POSITION_IDS, SOURCE, TensorSpec

MXINT8 = "mxint8"
"""Dtype of state whose form no host knows."""
_BLOCK = 32  # numbers of MXINT8 that share a scale of one byte
_IDLE = (POSITION_IDS, BATCH_INDEX, SOURCE)
"""Inputs whose -1 makes a row idle."""


class WholeState:
    """The layouts of such runs.

    Args:
        descriptor: What the program says of itself.
        pairs: State input → output.
        layout: Of a run on kept state, the smallest one.
        inputs: Its inputs → their shapes.

    Attributes:
        pairs: As given.
        fetching, passing: The layout that has the state as outputs, or as inputs.
    """

    def __init__(
        self, descriptor: Descriptor, pairs: Mapping[str, str], layout: Layout, inputs: Mapping[TensorSpec, Dims]
    ) -> None:
        self.pairs, self._inputs = pairs, inputs
        bindings, shapes = descriptor.bindings, layout.full
        dtypes = {binding.name: binding.dtype for binding in bindings}
        self._dtypes = {name: dtypes[name] for name in pairs}
        kept = {output: dtypes[output] for output in pairs.values() if dtypes[output] != OPAQUE}
        self.fetching = Layout.of(bindings, shapes, kept, skipped=frozenset(pairs))
        self.passing = Layout.of(bindings, shapes, {}, skipped=frozenset(pairs.values()))
        self._dims = {binding.name: shape for binding, shape in zip(bindings, shapes, strict=True)}

    def specs(self, states: Sequence[TensorSpec], *, opaque: bool) -> tuple[TensorSpec, ...]:
        """The state inputs with the sizes and dtypes of the device.

        Args:
            states: As the graph has them.
            opaque: Whether they were compiled as MXINT8, whatever type the program then says.
        """
        return tuple(replace(spec, shape=self._dims[spec.name], dtype=self._kept(spec, opaque)) for spec in states)

    def _kept(self, spec: TensorSpec, opaque: bool) -> str:
        dtype = self._dtypes[spec.name]
        floating = np.dtype(spec.dtype).kind == "f"
        return MXINT8 if floating and (opaque or not dtype.startswith("float")) else dtype

    def refuse_opaque(self, states: Sequence[TensorSpec]) -> None:
        """Refuses to move what nobody knows the form of, or where no run leaves the state alone.

        Raises:
            UsageError: State is in MXINT8, or the graph has no positions to say that a row is idle.
        """
        if any(spec.dtype == MXINT8 for spec in states):
            raise UsageError(
                "State in MXINT8 can't leave the card: how it looks to a host is not documented.",
                got="mxint8_kv_cache=True",
                allowed="state in float16",
                do="compile without mxint8_kv_cache; no beams and no copies of slots need this",
            )
        if not any(spec.name == _IDLE[0] for spec in self._inputs):
            raise UsageError(
                "The state of this graph can't be moved: it has no input that says that a run is to change nothing.",
                got=", ".join(spec.name for spec in self._inputs),
                allowed=f"a graph with {_IDLE[0]}, where -1 is padding",
                do="run the graph only, or export it with such an input",
            )

    def idle(self) -> Arrays:
        """The arrays of a run that leaves the state alone."""
        fill = {spec: -1 if spec.name in _IDLE else spec.harmless for spec in self._inputs}
        return {spec.name: np.full(shape, fill[spec], spec.dtype) for spec, shape in self._inputs.items()}

    @staticmethod
    def bytes_of(spec: TensorSpec) -> int:
        """Bytes of one state, as :meth:`specs` gives it."""
        numbers = math.prod(map(int, spec.shape))
        if spec.dtype == MXINT8:
            return numbers + math.ceil(numbers / _BLOCK)
        return numbers * np.dtype(spec.dtype).itemsize
