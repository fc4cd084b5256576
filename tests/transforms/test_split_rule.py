"""onnxscript tries its rule of two outputs where its first node fits, and the graph is what comes out without that."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx
import onnx.parser
import pytest
from onnxscript import optimizer
from onnxscript.rewriter import _matcher
from torch import Tensor, nn

from QEfficient.export import exporter
from QEfficient.export.split_rule import only_where_first_fits
from QEfficient.records import TensorSpec
from tests.exported import export


class Halves(nn.Module):
    """Two slices of one tensor among other nodes."""

    def forward(self, states: Tensor) -> Tensor:
        first, second = states[..., :8], states[..., 8:]
        return (first.exp() - second.tanh()) * 3 + first.sin()


class Tried:
    """Pairs of nodes that patterns of several outputs were matched against."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        pairs = _matcher.SimplePatternMatcher._multi_match

        def counted(*args: object, **how: object) -> object:
            self.count += 1
            return pairs(*args, **how)

        monkeypatch.setattr(_matcher.SimplePatternMatcher, "_multi_match", counted)


SLICES = """
<ir_version: 10, opset_import: ["" : 18]>
graph (float[N, 16] x) => (float[N, 8] y)
<int64[1] start = {0}, int64[1] half = {8}, int64[1] end = {16}, int64[1] axis = {-1}>
{
    second = Slice(x, half, end, axis)
    first = Slice(x, start, half, axis)
    raised = Exp(first)
    y = Sub(raised, second)
}
"""
"""As torch's exporter never writes them, whose slices name their step: the rule makes one ``Split`` of these. The later
half stands first, as the matcher takes the first pair that has the operators."""


@contextmanager
def everywhere() -> Iterator[None]:
    yield


def written(folder: Path) -> onnx.ModelProto:
    folder.mkdir()
    states = TensorSpec("states", "float32", ("batch_size", "seq_len", 16))
    graph = onnx.load(export(Halves(), inputs=(states,), folder=folder).path)
    for node in graph.graph.node:  # stack traces, which hold addresses
        del node.metadata_props[:]
    return graph


def test_the_graph_is_onnxscript_s_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    matching = _matcher.SimplePatternMatcher.match
    tried = Tried(monkeypatch)
    ours, few = written(tmp_path / "ours"), tried.count
    assert [node.op_type for node in ours.graph.node].count("Slice") == 2
    assert _matcher.SimplePatternMatcher.match is matching, "onnxscript has its own method back"
    monkeypatch.setattr(exporter, "only_where_first_fits", everywhere)
    assert written(tmp_path / "everywhere") == ours
    assert 0 < few < tried.count - few


def test_where_the_first_node_fits_the_rule_works() -> None:
    with only_where_first_fits():
        made = optimizer.optimize(onnx.parser.parse_model(SLICES))
    assert [node.op_type for node in made.graph.node] == ["Split", "Exp", "Sub"]
