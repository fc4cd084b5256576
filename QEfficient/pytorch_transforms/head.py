"""What stands behind an encoder: pooling, Dense and Normalize, so that a session returns finished vectors.

All modes but ``max`` are one sum over the tokens with weights that add up to what the mode needs, so an fp16 sum stays
in the range of the states: a plain sum over 512 tokens can pass 65504. Picking one token is such a sum too, with a
weight of 1 and else 0; it is exact, and it needs neither Gather nor a shape that depends on data.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from QEfficient.errors import LoadError, PoolingError
from QEfficient.pytorch_transforms.pooling import MODES, Steps, callable_name, parse_pooling

LOWEST = -65504.0
"""The lowest fp16 number: what ``max`` sees in place of a padded token."""

SMALLEST = 6.2e-5
"""Just above the smallest normal fp16 number: the least that Normalize divides by."""

ACTIVATIONS = (
    "torch.nn.modules.linear.Identity",
    *(
        f"torch.nn.modules.activation.{name}"
        for name in (
            *("CELU", "ELU", "GELU", "Hardsigmoid", "Hardswish", "Hardtanh", "LeakyReLU", "LogSigmoid", "Mish", "ReLU"),
            *("ReLU6", "SELU", "Sigmoid", "SiLU", "Softplus", "Softsign", "Tanh", "Tanhshrink"),
        )
    ),
)
"""Activations that a Dense step may name. Nothing else is imported for a repo's config."""


class Head(nn.Module):
    """The steps of a head, in order.

    Args:
        steps: As ``pooling.parse_pooling`` or ``sentence_repo`` gives them; ``()`` keeps one vector a token.
        folder: Where the weights of Dense steps are found.
        pooling: The function itself when a step is ``callable``.

    Raises:
        PoolingError: A step is unknown or can't follow the one before it.
        LoadError: The weights of a Dense step are missing or do not fit.
    """

    def __init__(self, steps: Steps, *, folder: Path | None = None, pooling: Callable[..., Any] | None = None) -> None:
        super().__init__()
        self.steps = nn.ModuleList(_step(step, folder, pooling) for step in steps)

    @classmethod
    def of(cls, pooling: str | Callable[..., Any] | None) -> Head:
        """The head of a ``pooling`` argument."""
        return cls(parse_pooling(pooling), pooling=pooling if callable(pooling) else None)

    def forward(self, states: Tensor, attention_mask: Tensor) -> Tensor:
        """States of shape (batch, length, width) and a 0/1 mask of (batch, length) → (batch, dim), or the states."""
        for step in self.steps:
            states = step(states, attention_mask)
        return states

    def check(self, width: int) -> None:
        """Runs the head once on three padded rows of made-up states.

        Args:
            width: Width of the encoder's states.

        Raises:
            PoolingError: The caller's function fails, or does not give one vector a row; or the widths do not fit.
        """
        states = torch.linspace(-1.0, 1.0, 3 * 5 * width).reshape(3, 5, width)
        mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 0, 0, 0, 0]])
        try:
            with torch.no_grad():
                out = self(states, mask)
        except PoolingError:
            raise
        except Exception as error:  # the caller's own code may raise anything
            raise PoolingError(
                "The pooling fails on three rows of five tokens.",
                got=f"{type(error).__name__}: {error}",
                allowed=f"(last_hidden_states (3, 5, {width}), attention_mask (3, 5)) -> (3, dim)",
                do="call it on such tensors, and correct it",
            ) from error
        if len(self.steps) and (out.ndim != 2 or out.shape[0] != 3):
            raise _not_a_vector_a_row(tuple(out.shape), width)


def _not_a_vector_a_row(got: object, width: int | None = None) -> PoolingError:
    return PoolingError(
        "The pooling does not give one vector a row.",
        got=got,
        allowed=f"floats of shape (batch, dim), from states of shape (batch, length, {width or 'width'})",
        do="return a tensor whose first dim is the batch and whose second is the vector",
    )


def _step(step: Any, folder: Path | None, pooling: Callable[..., Any] | None) -> nn.Module:
    match step.get("step"):
        case "pooling":
            return Pooling(step["modes"])
        case "dense":
            return _load_dense(step, folder)
        case "normalize":
            return Normalize()
        case "callable" if pooling is not None:
            return Custom(pooling)
        case "callable":
            raise PoolingError(
                "A pooling function can't be rebuilt from its name.",
                got=step.get("name"),
                allowed="the function that the head was made with",
                do="pass the function itself as pooling=",
            )
    raise PoolingError(
        "This step of a head is unknown here.", got=dict(step), allowed="pooling, dense, normalize, callable",
        do="write the pooling as a function (last_hidden_states, attention_mask) -> (batch, dim)",
    )  # fmt: skip


class Pooling(nn.Module):
    """One vector a row from one vector a token; several modes stand side by side, in the order given.

    Args:
        modes: Names of :data:`pooling.MODES`.
    """

    def __init__(self, modes: Sequence[str]) -> None:
        super().__init__()
        unknown = [mode for mode in modes if mode not in MODES]
        if unknown or not modes:
            raise PoolingError(
                "A pooling step names no mode, or one that is unknown here.",
                got=list(modes), allowed=", ".join(MODES), do="correct the step's modes",
            )  # fmt: skip
        self.modes = tuple(modes)

    def forward(self, states: Tensor, attention_mask: Tensor) -> Tensor:
        """(batch, length, width) → (batch, modes × width)."""
        return torch.cat([_pool(mode, states, attention_mask) for mode in self.modes], dim=-1)


def _pool(mode: str, states: Tensor, mask: Tensor) -> Tensor:
    if mode == "max":
        return torch.where((mask > 0).unsqueeze(-1), states, LOWEST).amax(dim=1)
    weights = _WEIGHTS[mode](mask, states.dtype)
    return torch.matmul(weights.unsqueeze(1), states).squeeze(1)


def _count(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """Real tokens of each row, (batch, 1), counted as integers."""
    return mask.sum(dim=1, keepdim=True).clamp(min=1).to(dtype)


def _positions(mask: Tensor) -> Tensor:
    return torch.arange(mask.shape[1], device=mask.device).unsqueeze(0)


def _first(mask: Tensor) -> Tensor:
    """Least index with mask 1, (batch, 1)."""
    return torch.where(mask > 0, _positions(mask), mask.shape[1]).amin(dim=1, keepdim=True)


def _last(mask: Tensor) -> Tensor:
    """Greatest index with mask 1, (batch, 1)."""
    return torch.where(mask > 0, _positions(mask), -1).amax(dim=1, keepdim=True)


def _mean(mask: Tensor, dtype: torch.dtype) -> Tensor:
    return mask.to(dtype) / _count(mask, dtype)


def _mean_sqrt_len(mask: Tensor, dtype: torch.dtype) -> Tensor:
    return mask.to(dtype) / _count(mask, dtype).sqrt()


def _weighted_mean(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """Weights 1, 2, 3, … from the first real token on, as sentence-transformers counts them; a hole counts too.

    They are divided by the length before they are added up: 1 + … + 512 is more than fp16 holds.
    """
    weights = (_positions(mask) - _first(mask) + 1).to(dtype) / mask.shape[1] * mask.to(dtype)
    return weights / weights.sum(dim=1, keepdim=True).clamp(min=SMALLEST)


def _cls(mask: Tensor, dtype: torch.dtype) -> Tensor:
    return (_positions(mask) == _first(mask)).to(dtype)


def _last_token(mask: Tensor, dtype: torch.dtype) -> Tensor:
    return (_positions(mask) == _last(mask)).to(dtype)


_WEIGHTS: dict[str, Callable[[Tensor, torch.dtype], Tensor]] = {
    "cls": _cls,
    "last_token": _last_token,
    "mean": _mean,
    "mean_sqrt_len": _mean_sqrt_len,
    "weighted_mean": _weighted_mean,
}
"""Mode → weight of each token, (batch, length), from the mask."""


class Normalize(nn.Module):
    """Vectors of length 1, as ``torch.nn.functional.normalize`` gives them; the zero vector stays zero.

    Each vector is brought to a greatest entry of 1 first, so that no square leaves fp16's range. A vector whose
    greatest entry is under 1e-9 counts as zero.
    """

    def forward(self, vectors: Tensor, attention_mask: Tensor) -> Tensor:
        """(batch, dim) → (batch, dim)."""
        vectors = vectors / vectors.abs().amax(dim=-1, keepdim=True).clamp(min=SMALLEST)
        return vectors / (vectors * vectors).sum(dim=-1, keepdim=True).sqrt().clamp(min=SMALLEST)


class Dense(nn.Module):
    """A linear layer and an activation.

    Args:
        linear: The layer, with its weights.
        activation: Dotted name of one of :data:`ACTIVATIONS`.
    """

    def __init__(self, linear: nn.Linear, activation: str) -> None:
        super().__init__()
        self.linear = linear
        self.activation = _activation(activation)

    def forward(self, vectors: Tensor, attention_mask: Tensor) -> Tensor:
        """(…, in) → (…, out)."""
        out: Tensor = self.activation(self.linear(vectors))
        return out


class Custom(nn.Module):
    """The caller's own pooling function or module."""

    def __init__(self, pooling: Callable[..., Any]) -> None:
        super().__init__()
        self.pooling = pooling
        self.name = callable_name(pooling)

    def forward(self, states: Tensor, attention_mask: Tensor) -> Tensor:
        """(batch, length, width) → (batch, dim), by the caller's code."""
        out = self.pooling(states, attention_mask)
        if not isinstance(out, Tensor) or not out.is_floating_point() or out.ndim != 2:
            raise _not_a_vector_a_row(tuple(out.shape) if isinstance(out, Tensor) else type(out))
        return out


def _activation(name: str) -> nn.Module:
    if name not in ACTIVATIONS:
        raise PoolingError(
            "The activation of a Dense step is not one that is loaded by name.", got=name,
            allowed=", ".join(known.rpartition(".")[2] for known in ACTIVATIONS) + " of torch.nn",
            do="write the pooling as a function (last_hidden_states, attention_mask) -> (batch, dim)",
        )  # fmt: skip
    module, _, leaf = name.rpartition(".")
    made: nn.Module = getattr(importlib.import_module(module), leaf)()
    return made


def _load_dense(step: Any, folder: Path | None) -> Dense:
    path = Path(folder or ".") / step["weights"]
    held = _read_tensors(path)
    with torch.device("meta"):
        linear = nn.Linear(step["in"], step["out"], bias=step["bias"])
    wanted = {f"linear.{name}": tuple(tensor.shape) for name, tensor in linear.named_parameters()}
    got = {name: tuple(tensor.shape) for name, tensor in held.items()}
    if got != wanted:
        raise LoadError(
            "The weights of a Dense module do not fit its config.",
            got=f"{path}: {got}", allowed=str(wanted), do="fetch the repo again",
        )  # fmt: skip
    for name, tensor in held.items():
        setattr(linear, name.removeprefix("linear."), nn.Parameter(tensor.float(), requires_grad=False))
    return Dense(linear, step["activation"])


def _read_tensors(path: Path) -> dict[str, Tensor]:
    """Tensors by name, from a ``.safetensors`` file or a torch file; code in the latter is never run."""
    from safetensors.torch import load_file  # only a repo with a Dense module needs it

    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        held: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
        return held
    except Exception as error:  # safetensors, zip and pickle errors have no common base
        raise LoadError(
            "The weights of a Dense module can't be read.", got=f"{path}: {error}",
            allowed="a .safetensors file, or a torch file that holds tensors only", do="fetch the repo again",
        ) from error  # fmt: skip
