"""Dense, LayerNorm, Normalize and layer means: what sentence-transformers' own modules give, from what they save."""

import json
import warnings
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
import torch
from safetensors.torch import save_file
from sentence_transformers.base.modules import Dense, Module, Normalize
from sentence_transformers.sentence_transformer.modules import Dropout, LayerNorm, Pooling, WeightedLayerPooling
from torch import Tensor, nn
from torch.nn.functional import normalize
from torch.nn.modules import activation

from QEfficient.errors import LoadError, PoolingError
from QEfficient.onnx_transforms import apply
from QEfficient.pytorch_transforms import vectors
from QEfficient.pytorch_transforms.head import HeadModule
from QEfficient.records import TensorSpec
from QEfficient.sentence_repo import Module as Entry
from QEfficient.sentence_repo.steps import ACTIVATIONS, read_steps
from tests.exported import export

# Why an activation of torch.nn is none that a Dense can have: sentence-transformers makes it without arguments.
NONE = {"MultiheadAttention": "needs arguments", "Threshold": "needs arguments", "Softmax2d": "takes images"}
MASK = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 0, 0, 0, 0]])


def saved(folder: Path, *modules: Module, config: dict[str, object] | None = None, **save: Any) -> HeadModule:
    """The head of modules that sentence-transformers saved behind a Transformer."""
    (folder / "config.json").write_text(json.dumps(config or {}))
    entries = [Entry("sentence_transformers.models.Transformer", folder)]
    for i, module in enumerate(modules, 1):
        place = folder / f"{i}_{type(module).__name__}"
        place.mkdir()
        module.save(str(place), **save)
        entries.append(Entry(f"sentence_transformers.models.{type(module).__name__}", place))
    return HeadModule(read_steps(entries, folder), folder=folder).eval()


def randomised(module: Any) -> Any:
    generator = torch.Generator().manual_seed(5)
    for parameter in module.parameters():
        parameter.data.normal_(0.0, 0.6, generator=generator)
    return module.eval()


def states(width: int = 6) -> Tensor:
    return torch.randn(3, 5, width, generator=torch.Generator().manual_seed(2)) * 2


def theirs(*modules: Module, **features: Any) -> Tensor:
    found: dict[str, Any] = {"token_embeddings": states(), "attention_mask": MASK, **features}
    with warnings.catch_warnings(), torch.no_grad():
        warnings.filterwarnings("ignore", message="Implicit dimension choice")
        for module in modules:
            found = module(found)
    result: Tensor = found["sentence_embedding"]
    return result


def test_every_activation_that_a_dense_can_be_saved_with() -> None:
    assert {*ACTIVATIONS} == {*activation.__all__, "Identity"} - {*NONE}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_dense_with_each_activation(tmp_path: Path, name: str) -> None:
    parts = Pooling(6), randomised(Dense(6, 4, activation_function=getattr(nn, name)()))
    torch.testing.assert_close(saved(tmp_path, *parts)(states(), MASK), theirs(*parts), rtol=1e-6, atol=1e-6)


def test_every_step_exports(tmp_path: Path) -> None:
    """All activations, a residual and a layer norm at once, over vectors from -6 to 6."""

    class Everything(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding.from_pretrained(torch.linspace(-6, 6, 50 * 6).reshape(50, 6))
            dense = [vectors.Dense(6, 4, True, name) for name in ACTIVATIONS]
            self.steps = nn.ModuleList([*dense, vectors.Dense(6, 4, True, "Tanh", True), vectors.LayerNorm(6)])
            randomised(self.steps)

        def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
            mean = (self.table(input_ids) * attention_mask.unsqueeze(-1)).sum(dim=1)
            return torch.cat([step(mean, attention_mask) for step in self.steps], dim=-1)

    module = Everything().eval()
    names = ("input_ids", "attention_mask")
    specs = [TensorSpec(name, "int64", ("batch_size", "seq_len")) for name in names]
    graph = apply(export(module, inputs=specs, folder=tmp_path), tmp_path / "passed")
    ids, mask = torch.arange(50).reshape(25, 2), torch.tensor([[1, 0]]).expand(25, 2).contiguous()
    (got,) = onnxruntime.InferenceSession(graph.path).run(
        None, dict(zip(names, (ids.numpy(), mask.numpy()), strict=True))
    )
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(got), module(ids, mask), rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("safe", [True, False])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("out", [6, 4])
def test_dense_with_a_residual(tmp_path: Path, out: int, bias: bool, safe: bool) -> None:
    parts = Pooling(6), randomised(Dense(6, out, bias=bias, use_residual=True))
    head = saved(tmp_path, *parts, safe_serialization=safe)
    torch.testing.assert_close(head(states(), MASK), theirs(*parts), rtol=1e-6, atol=1e-6)


def test_modules_before_and_behind_the_pooling(tmp_path: Path) -> None:
    tokens = {"module_input_name": "token_embeddings"}
    parts = (
        *(Normalize(**tokens), randomised(Dense(6, 5, activation_function=nn.GELU(), **tokens))),
        *(Pooling(5, ("max", "mean")), Dropout(0.4).eval(), randomised(LayerNorm(10)), randomised(Dense(10, 3))),
        *(randomised(LayerNorm(3)), Normalize()),
    )
    torch.testing.assert_close(saved(tmp_path, *parts)(states(), MASK), theirs(*parts), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("start", [0, 2, 3])
def test_the_mean_of_layers(tmp_path: Path, start: int) -> None:
    parts = WeightedLayerPooling(6, num_hidden_layers=3, layer_start=start), Pooling(6)
    parts[0].layer_weights.data = torch.arange(1.0, 5.0 - start)
    layers = tuple(states() * factor for factor in (1.0, -2.0, 0.5, 3.0))
    head = saved(tmp_path, *parts, config={"output_hidden_states": True})
    assert head.source == "hidden_states"
    expected = theirs(*parts, all_layer_embeddings=layers)
    torch.testing.assert_close(head(layers, MASK), expected, rtol=1e-6, atol=1e-6)
    with pytest.raises(PoolingError, match="do not fit the encoder"):
        head(layers[:-1], MASK)


def test_the_mean_of_layers_is_nothing_without_hidden_states(tmp_path: Path) -> None:
    parts = WeightedLayerPooling(6), Pooling(6)
    head = saved(tmp_path, *parts)
    assert head.source == "last_hidden_state"
    torch.testing.assert_close(head(states(), MASK), theirs(*parts), rtol=1e-6, atol=1e-6)


def test_normalize_is_torchs() -> None:
    some = torch.randn(20, 33) * torch.logspace(-6, 6, 20).unsqueeze(1)
    mask = torch.ones(20, 1, dtype=torch.int64)
    torch.testing.assert_close(vectors.Normalize()(some, mask), normalize(some, dim=-1), rtol=1e-6, atol=1e-7)
    assert torch.equal(vectors.Normalize()(torch.zeros(1, 4), mask), torch.zeros(1, 4))


def test_normalize_is_safe_in_fp16() -> None:
    some = torch.tensor([[600.0, 800.0], [0.0, 0.0], [6e-4, 8e-4]], dtype=torch.float16)
    assert not torch.isfinite(some.square().sum(dim=-1)).all()
    lengths = vectors.Normalize()(some, torch.ones(3, 1, dtype=torch.int64)).float().norm(dim=-1)
    torch.testing.assert_close(lengths, torch.tensor([1.0, 0.0, 1.0]), rtol=2e-3, atol=0)


DENSE = {"step": "dense", "in": 4, "out": 3, "bias": True, "activation": "Tanh", "weights": "w.safetensors"}


def test_weights_that_do_not_fit(tmp_path: Path) -> None:
    save_file({"linear.weight": torch.zeros(3, 5), "linear.bias": torch.zeros(3)}, tmp_path / "w.safetensors")
    with pytest.raises(LoadError, match=r"linear.weight.*\(3, 5\)"):
        HeadModule((DENSE,), folder=tmp_path)
    layers = {"step": "layers", "start": 1, "count": 2, "weights": "w.safetensors"}
    for weights in (torch.ones(3), torch.tensor([1.0, -1.0])):
        save_file({"layer_weights": weights}, tmp_path / "w.safetensors")
        with pytest.raises(LoadError, match="whose sum is not 0"):
            HeadModule((layers,), folder=tmp_path)
    (tmp_path / "w.safetensors").write_bytes(b"short")
    with pytest.raises(LoadError, match="can't be read"):
        HeadModule((DENSE,), folder=tmp_path)


def test_no_foreign_activation_is_made(tmp_path: Path) -> None:
    with pytest.raises(PoolingError, match="Flatten"):
        HeadModule(({**DENSE, "activation": "Flatten"},), folder=tmp_path)
