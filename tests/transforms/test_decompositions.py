"""An export decomposes only what needs it, and gives the graph and the numbers that it gives with all of it."""

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from QEfficient.export import decompositions, exporter
from QEfficient.records import OnnxModel, TensorSpec

IDS = tuple(TensorSpec(name, "int64", ("batch_size", "seq_len")) for name in ("input_ids", "attention_mask"))


class Renamed(nn.Module):
    """Every operator that is renamed, and assertions."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        states, mask = input_ids.to(torch.float32), attention_mask.to("cpu", torch.bool)
        odd = (input_ids & attention_mask).bool()
        both = torch.logical_not(odd) & mask | odd
        scaled = (1.0 - states).square() * both.to(dtype=torch.float32, device="cpu")
        pairs = torch.stack((scaled.to(torch.float32), scaled + (3 - attention_mask)), dim=-1).sum(dim=1)
        return pairs.unsqueeze(-1).flatten(1)


class Expanded(nn.Module):
    """Flattens what has no memory of its own, so that no view of it is flat."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        rows = torch.arange(4).unsqueeze(1).expand(-1, 4)
        return input_ids.float().sum(-1, keepdim=True) + rows.flatten() + 0 * attention_mask.sum()


class InPlace(nn.Module):
    """Writes into its own states: renaming is not enough."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        states = input_ids.float() * 2
        states.add_(attention_mask)
        return states.square()


class Calls:
    """What the exporter's own decomposition was called for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from torch.onnx._internal.exporter import _fx_passes as passes

        self.count, self.passes, own = 0, passes, passes.decompose_with_registry

        def counted(*args: object) -> object:
            self.count += 1
            return own(*args)  # type: ignore[arg-type]

        self.replacement = counted
        monkeypatch.setattr(passes, "decompose_with_registry", counted)

    @property
    def restored(self) -> bool:
        """Whether the exporter has its own function back."""
        return self.passes.decompose_with_registry is self.replacement


def write(module: nn.Module, folder: Path) -> OnnxModel:
    folder.mkdir()
    return exporter.export(module, inputs=IDS, folder=folder)


def kinds(model: OnnxModel) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load(model.path).graph.node)


def agree(module: nn.Module, model: OnnxModel) -> None:
    generator = torch.Generator().manual_seed(0)
    ids, mask = (torch.randint(0, top, (3, 7), generator=generator) for top in (90, 2))
    given = {"input_ids": ids.numpy(), "attention_mask": mask.numpy()}
    found = onnxruntime.InferenceSession(model.path).run(None, given)
    np.testing.assert_allclose(found[0], module(ids, mask).numpy(), rtol=1e-6)


def test_a_flattened_expansion(tmp_path: Path) -> None:
    module = Expanded()
    agree(module, write(module, tmp_path / "model"))


def test_renamed_operators(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch's decomposition is not called, and the graph is what comes out with it."""
    calls = Calls(monkeypatch)
    renamed = write(Renamed(), tmp_path / "renamed")
    assert calls.count == 0 and calls.restored
    agree(Renamed(), renamed)
    monkeypatch.setattr(decompositions, "_rename", lambda *_: False)
    whole = write(Renamed(), tmp_path / "whole")
    assert calls.count == 1
    assert kinds(renamed) == kinds(whole)


def test_a_graph_that_needs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = Calls(monkeypatch)
    model = write(InPlace(), tmp_path / "graph")
    assert calls.count == 1 and calls.restored
    agree(InPlace(), model)
