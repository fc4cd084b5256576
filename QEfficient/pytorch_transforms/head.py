"""What stands behind an encoder, as a list of small modules, so that a session returns finished vectors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from QEfficient.errors import PoolingError
from QEfficient.pytorch_transforms.pooling import POOLER, SIGNATURE, Steps, callable_name
from QEfficient.pytorch_transforms.token_pooling import Layers, Pooling
from QEfficient.pytorch_transforms.vectors import Dense, LayerNorm, Normalize, load_into, misfit, read_tensors


class HeadModule(nn.Module):
    """The steps of a head, in order.

    Args:
        steps: As ``pooling`` lists them; ``()`` keeps one vector a token.
        folder: Where the weights of steps are found.
        pooling: The function itself when a step is ``callable``.

    Raises:
        PoolingError: A step is unknown or can't follow the one before it.
        LoadError: The weights of a step are missing or do not fit.
    """

    def __init__(self, steps: Steps, *, folder: Path | None = None, pooling: Callable[..., Any] | None = None) -> None:
        super().__init__()
        self.steps = nn.ModuleList(_step(step, Path(folder or "."), pooling) for step in steps)

    @property
    def source(self) -> str:
        """The attribute of a HuggingFace output that the first step works on."""
        if any(isinstance(step, Layers) for step in self.steps):
            return "hidden_states"
        return POOLER if any(isinstance(step, nn.Identity) for step in self.steps) else "last_hidden_state"

    def forward(self, states: Tensor, attention_mask: Tensor, pooling_mask: Tensor | None = None) -> Tensor:
        """States and masks → vectors.

        Args:
            states: What :attr:`source` names: (batch, length, width), or a tuple of such for ``hidden_states``.
            attention_mask: 0 and 1, (batch, length).
            pooling_mask: The same for the tokens that are pooled, where a step leaves out the prompt's.

        Returns:
            (batch, dim), or the states themselves without a step.
        """
        for step in self.steps:
            masks = (attention_mask, pooling_mask) if isinstance(step, Pooling) else (attention_mask,)
            states = states if isinstance(step, nn.Identity) else step(states, *masks)
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


def _step(step: Any, folder: Path, pooling: Callable[..., Any] | None) -> nn.Module:
    match step.get("step"):
        case "pooling":
            return Pooling(step["modes"], step.get("include_prompt", True))
        case "dense":
            dense = Dense(step["in"], step["out"], step["bias"], step["activation"], step.get("residual", False))
            return load_into(dense, folder / step["weights"])
        case "layer_norm":
            return load_into(LayerNorm(step["dim"]), folder / step["weights"])
        case "normalize":
            return Normalize()
        case "pooler_output":
            return nn.Identity()  # pooled by the model itself
        case "layers":
            return Layers(step["start"], _layer_weights(folder / step["weights"], step["count"]))
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
        "This step of a head is unknown here.", got=dict(step),
        allowed="pooling, pooler_output, dense, layer_norm, normalize, layers, callable",
        do=f"write the pooling as a function {SIGNATURE}",
    )  # fmt: skip


def _layer_weights(path: Path, count: int) -> Tensor:
    held = read_tensors(path)
    weights = held.get("layer_weights")
    if weights is None or tuple(weights.shape) != (count,) or weights.sum() == 0:
        shapes = {name: tuple(tensor.shape) for name, tensor in held.items()}
        raise misfit("WeightedLayerPooling", path, shapes, f"layer_weights of shape ({count},) whose sum is not 0")
    return weights.float()


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
