"""What is done to vectors behind an encoder, of a token or of a text: Dense, LayerNorm, Normalize."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from QEfficient.errors import LoadError, PoolingError
from QEfficient.pytorch_transforms.pooling import SIGNATURE
from QEfficient.sentence_repo.steps import ACTIVATIONS, ALONG_THE_VECTOR

SMALLEST = 6.2e-5
"""Just above the smallest normal fp16 number: the least that a division here divides by."""


class Normalize(nn.Module):
    """Vectors of length 1, as ``torch.nn.functional.normalize`` gives them; the zero vector stays zero.

    Each vector is brought to a greatest entry of 1 first, so that no square leaves fp16's range. A vector whose
    greatest entry is under 1e-9 counts as zero.
    """

    def forward(self, vectors: Tensor, attention_mask: Tensor) -> Tensor:
        """(…, dim) → (…, dim)."""
        vectors = vectors / vectors.abs().amax(dim=-1, keepdim=True).clamp(min=SMALLEST)
        return vectors / (vectors * vectors).sum(dim=-1, keepdim=True).sqrt().clamp(min=SMALLEST)


class LayerNorm(nn.Module):
    """A layer norm with torch's own epsilon.

    Args:
        dim: Width of the vectors.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)

    def forward(self, vectors: Tensor, attention_mask: Tensor) -> Tensor:
        """(…, dim) → (…, dim)."""
        out: Tensor = self.norm(vectors)
        return out


class Dense(nn.Module):
    """A linear layer, an activation, and the input added where there is a residual.

    Its tensors have the names that sentence-transformers gives them.

    Args:
        width, out: Width of the vectors, before and after.
        bias: Whether the linear layer has one.
        activation: One of :data:`QEfficient.sentence_repo.steps.ACTIVATIONS`; nothing else is made for a repo's config.
        residual: Add the input, through a linear layer of its own where the widths differ.

    Raises:
        PoolingError: The activation is another one.
    """

    def __init__(self, width: int, out: int, bias: bool, activation: str, residual: bool = False) -> None:
        super().__init__()
        self.linear = nn.Linear(width, out, bias=bias)
        self.activation_function = _activation(activation)
        self.adds_input = residual
        self.residual = nn.Linear(width, out, bias=False) if residual and width != out else None

    def forward(self, vectors: Tensor, attention_mask: Tensor) -> Tensor:
        """(…, width) → (…, out)."""
        out: Tensor = self.activation_function(self.linear(vectors))
        if not self.adds_input:
            return out
        return out + (vectors if self.residual is None else self.residual(vectors))


class _LogSigmoid(nn.Module):
    """The exporter writes ``log(sigmoid(x))``, whose sigmoid has lost its digits at -16; this keeps them."""

    def forward(self, x: Tensor) -> Tensor:
        return -nn.functional.softplus(-x)


def _activation(name: str) -> nn.Module:
    if name not in ACTIVATIONS:
        raise PoolingError(
            "The activation of a Dense step is not one that is made by name.", got=name,
            allowed=", ".join(ACTIVATIONS) + " of torch.nn",
            do=f"write the pooling as a function {SIGNATURE}",
        )  # fmt: skip
    kind = _LogSigmoid if name == "LogSigmoid" else getattr(nn, name)
    made: nn.Module = kind(dim=-1) if name in ALONG_THE_VECTOR else kind()
    # Outside of training RReLU's slope is the middle of its range; the exporter knows it in this form only.
    return nn.LeakyReLU((made.lower + made.upper) / 2) if isinstance(made, nn.RReLU) else made


def load_into(module: nn.Module, path: Path) -> nn.Module:
    """Fills a module's parameters from a file, in float32, and returns it.

    Raises:
        LoadError: The file can't be read, or holds other tensors.
    """
    held = read_tensors(path)
    wanted = {name: tuple(tensor.shape) for name, tensor in module.named_parameters()}
    got = {name: tuple(tensor.shape) for name, tensor in held.items()}
    if got != wanted:
        raise misfit(type(module).__name__, path, got, str(wanted))
    module.load_state_dict({name: tensor.float() for name, tensor in held.items()}, assign=True)
    return module.requires_grad_(False)


def misfit(kind: str, path: Path, got: object, allowed: str) -> LoadError:
    """The error for a file whose tensors are not those of a module behind the encoder."""
    what = f"The weights of a {kind} module do not fit its config."
    return LoadError(what, got=f"{path}: {got}", allowed=allowed, do="fetch the repo again")


def read_tensors(path: Path) -> Mapping[str, Tensor]:
    """Tensors by name, from a ``.safetensors`` file or a torch file; code in the latter is never run.

    Raises:
        LoadError: It can't be read.
    """
    from safetensors.torch import load_file  # only a repo with such a module needs it

    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        held: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        return held
    except Exception as error:  # safetensors, zip and pickle errors have no common base
        raise LoadError(
            "The weights of a module behind the encoder can't be read.", got=f"{path}: {error}",
            allowed="a .safetensors file, or a torch file that holds tensors only", do="fetch the repo again",
        ) from error  # fmt: skip
