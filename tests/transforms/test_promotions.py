"""An export's type promotion runs only what it changes, and the graph is what comes out when all of it is run."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torch.onnx._internal.fx.passes import type_promotion

from QEfficient.export import exporter
from QEfficient.records import TensorSpec
from tests import tiny_models
from tests.exported import export

IDS = tuple(TensorSpec(name, "int64", ("batch_size", "seq_len")) for name in ("input_ids", "attention_mask"))


class Mixed(nn.Module):
    """Tensors and numbers of several types in one operator, and what depends on the free length."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        states = input_ids / 7 + attention_mask  # ints divided, floats and ints added
        states = states * (attention_mask > 0) + states.pow(2)  # bools, and a power that is a number
        length = states.shape[1]
        far = torch.arange(length) / length
        return torch.where(attention_mask > 0, states, -1) + far + attention_mask.sum(-1, keepdim=True)


class Plain(nn.Module):
    """Nothing to promote."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return input_ids.float() * attention_mask.float()


def bert() -> nn.Module:
    return tiny_models.chain(tiny_models.tiny("bert"))


class Runs:
    """Nodes that torch's pass ran: those of the graph, and those that it made or changed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.interpreter = type_promotion._TypePromotionInterpreter
        self.calls, self.changed = 0, 0
        call, run = self.interpreter.call_function, self.interpreter._run_node_and_set_meta

        def counted(*args: object) -> object:
            self.calls += 1
            return call(*args)

        def noted(*args: object) -> object:
            self.changed += 1
            return run(*args)

        monkeypatch.setattr(self.interpreter, "call_function", counted)
        monkeypatch.setattr(self.interpreter, "_run_node_and_set_meta", noted)
        self.run_node = self.interpreter.run_node


@contextmanager
def nothing_left_out() -> Iterator[None]:
    yield


def write(module: nn.Module, folder: Path) -> bytes:
    folder.mkdir()
    inputs = IDS if isinstance(module, (Mixed, Plain)) else (*IDS, TensorSpec("token_type_ids", "int64", IDS[0].shape))
    model = export(module, inputs=inputs, folder=folder)
    graph = onnx.load(model.path)
    for node in graph.graph.node:  # stack traces, which hold addresses
        del node.metadata_props[:]
    return graph.SerializeToString(deterministic=True)


@pytest.mark.parametrize("make", [Mixed, Plain, bert])
def test_the_graph_is_torch_s_own(make: type[nn.Module], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = Runs(monkeypatch)
    module = make()
    ours = write(module, tmp_path / "ours")
    assert runs.calls == runs.changed and (runs.changed > 0) == (make is Mixed)
    assert runs.interpreter.run_node is runs.run_node, "torch has its own method back"
    monkeypatch.setattr(exporter, "only_changed_nodes", nothing_left_out)
    assert write(module, tmp_path / "torch's") == ours
    assert runs.calls > runs.changed, "without it, the whole graph is run"


def test_numbers_of_mixed_types(tmp_path: Path) -> None:
    write(Mixed(), tmp_path / "graph")
    generator = torch.Generator().manual_seed(0)
    ids, mask = (torch.randint(0, top, (3, 7), generator=generator) for top in (90, 2))
    given = {"input_ids": ids.numpy(), "attention_mask": mask.numpy()}
    found = onnxruntime.InferenceSession(tmp_path / "graph" / "model.onnx").run(None, given)
    np.testing.assert_allclose(found[0], Mixed()(ids, mask).numpy(), rtol=1e-6)
