"""A cache whose attention is no single operator is read as far as it is used, and no further."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from QEfficient.onnx_transforms import run
from QEfficient.onnx_transforms.key_positions import COUNT
from QEfficient.onnx_transforms.standard_operators import InlineFunctions
from QEfficient.onnx_transforms.used_positions import UsedPositions
from tests.cached_graphs import Layer, model, text
from tests.passes.graphs import compute

CTX, ONE = 6400, Layer(width=12, rotary=False)


@pytest.mark.parametrize(("start", "tokens", "read"), [(0, 3, 3), (3, 1, 4), (-1, 1, 1), (CTX - 1, 1, CTX)])
def test_only_used_positions_are_read(start: int, tokens: int, read: int) -> None:
    """A cache a hundred times as long is read no further: what stands there may be anything, and costs nothing."""
    graph = model(text(ONE), ONE)
    assert run(graph, [UsedPositions()])
    run(graph, [InlineFunctions()])
    proto = ir.to_proto(graph)
    proto.graph.output.append(onnx.helper.make_tensor_value_info(COUNT, onnx.TensorProto.INT64, ["n"]))
    counts = {"query": ONE.heads, "key": ONE.shared, "value": ONE.shared}
    arrays = {name: np.ones((1, tokens, count, ONE.width), np.float32) for name, count in counts.items()}
    positions = np.arange(start, start + tokens)[None]
    states = {f"past_{part}.0": np.zeros((2, ONE.shared, CTX, ONE.width), np.float32) for part in ("key", "value")}
    inputs = {**arrays, **states, "position_ids": positions, "batch_index": np.zeros((1, 1), np.int64)}
    assert compute(ir.from_proto(proto), inputs)[-1].tolist() == list(range(read))
