"""An export decomposes only what needs it, and gives the graph and the numbers that it gives with all of it."""

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from QEfficient.export import decompositions
from QEfficient.records import OnnxModel, TensorSpec
from tests.exported import export

IDS = tuple(TensorSpec(name, "int64", ("batch_size", "seq_len")) for name in ("input_ids", "attention_mask"))


class Renamed(nn.Module):
    """Every operator that is renamed, and assertions."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        states, mask = input_ids.to(torch.float32), attention_mask.to("cpu", torch.bool)
        odd = (input_ids & attention_mask).bool()
        both = torch.logical_not(odd) & mask | odd
        scaled = (1.0 - states).square() * both.to(dtype=torch.float32, device="cpu")
        scaled = torch.max(torch.min(scaled, states).clip(min=-9.0), states)
        pairs = torch.stack((scaled.to(torch.float32), scaled + (3 - attention_mask)), dim=-1).sum(dim=1)
        return pairs.unsqueeze(-1).flatten(1)


class Overwritten(nn.Module):
    """Writes into memory that nobody else reads, several times over."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        buckets = (input_ids > 40) * 8
        buckets += torch.where(attention_mask > 0, input_ids, input_ids - 3)
        states = buckets.float() * torch.tensor(0.5)
        states.mul_(attention_mask.float() + 2).sub_(attention_mask.float()).div_(torch.tensor(7.0)).clamp_(max=90.0)
        return states


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


class Mapped(nn.Module):
    """A vmap, which leaves plain functions of torch in the trace, as masks of transformers do."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        kept = torch.vmap(lambda ids, mask: ids * mask, in_dims=(0, 0))(input_ids, attention_mask)
        return kept.float().square()


class BySize(nn.Module):
    """Writes what a size of the input gives."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        states = input_ids.float() * 2
        states.mul_(input_ids.shape[1]).div_(input_ids.shape[0])
        return states + attention_mask


class FromANumber(nn.Module):
    """Subtracts some of itself from a number."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return torch.rsub(input_ids.float(), 2, alpha=3) + attention_mask


class Viewed(nn.Module):
    """Writes into what a view shows."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        states = input_ids.float() * 2
        first = states[:, :1]
        states.add_(attention_mask.float())
        return first + states


class ReadBehind(nn.Module):
    """Writes into a view, and reads what lies under it."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        states = input_ids.float() * 2
        states.view(-1).mul_(torch.tensor(3.0))
        return states + attention_mask


class Dropped(nn.Module):
    """Writes into what an operator gave: its argument itself, though its signature does not say so."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        states = input_ids.float() * 2
        torch.dropout(states, 0.5, train=False).add_(attention_mask.float())
        return states


class OfTheCaller(nn.Module):
    """Writes into an input."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        ids = input_ids[:, :]
        ids.add_(attention_mask)
        return ids * 1.5 + input_ids


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
    return export(module, inputs=IDS, folder=folder)


def kinds(model: OnnxModel) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load(model.path).graph.node)


def agree(module: nn.Module, model: OnnxModel) -> None:
    generator = torch.Generator().manual_seed(0)
    ids, mask = (torch.randint(0, top, (3, 7), generator=generator) for top in (90, 2))
    given = {"input_ids": ids.numpy(), "attention_mask": mask.numpy()}
    found = onnxruntime.InferenceSession(model.path).run(None, given)
    np.testing.assert_allclose(found[0], module(ids.clone(), mask).numpy(), rtol=1e-6)


@pytest.mark.parametrize("module", [Expanded(), FromANumber()])
def test_operators_that_are_written_out(module: nn.Module, tmp_path: Path) -> None:
    agree(module, write(module, tmp_path / "model"))


@pytest.mark.parametrize("module", [Renamed(), Overwritten()])
def test_renamed_operators(module: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch's decomposition is not called, and the graph is what comes out with it."""
    calls = Calls(monkeypatch)
    renamed = write(module, tmp_path / "renamed")
    assert calls.count == 0 and calls.restored
    agree(module, renamed)
    monkeypatch.setattr(decompositions, "_rename", lambda *_: False)
    whole = write(module, tmp_path / "whole")
    assert calls.count == 1
    assert kinds(renamed) == kinds(whole)


@pytest.mark.parametrize("module", [InPlace(), Mapped(), BySize(), Viewed(), ReadBehind(), OfTheCaller()])
def test_a_graph_that_needs_it(module: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = Calls(monkeypatch)
    model = write(module, tmp_path / "graph")
    assert calls.count == 1 and calls.restored
    agree(module, model)


def test_a_composite_may_give_its_argument(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What lies under its result is not for us to know: the exporter's own way is taken."""
    calls = Calls(monkeypatch)
    write(Dropped(), tmp_path / "graph")
    assert calls.count == 1
