"""One vector a text from one vector a token: the pooling modes, and the mean over an encoder's layers.

All modes but ``max`` are one sum over the tokens with weights that add up to what the mode needs, so an fp16 sum stays
in the range of the states: a plain sum over 512 tokens can pass 65504. Picking one token is such a sum too, with a
weight of 1 and else 0; it is exact, and it needs neither Gather nor a shape that depends on data.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from QEfficient.errors import PoolingError
from QEfficient.pytorch_transforms.pooling import MODES
from QEfficient.pytorch_transforms.vectors import SMALLEST

LOWEST = -65504.0
"""The lowest fp16 number: what ``max`` sees in place of a padded token."""


class Pooling(nn.Module):
    """One vector a row from one vector a token; several modes stand side by side, in the order given.

    Args:
        modes: Names of :data:`pooling.MODES`.
        include_prompt: False when a second mask says which tokens are pooled.
    """

    def __init__(self, modes: Sequence[str], include_prompt: bool = True) -> None:
        super().__init__()
        unknown = [mode for mode in modes if mode not in MODES]
        if unknown or not modes:
            raise PoolingError(
                "A pooling step names no mode, or one that is unknown here.",
                got=list(modes), allowed=", ".join(MODES), do="correct the step's modes",
            )  # fmt: skip
        self.modes, self.include_prompt = tuple(modes), include_prompt

    def forward(self, states: Tensor, attention_mask: Tensor, pooling_mask: Tensor | None = None) -> Tensor:
        """(batch, length, width) → (batch, modes × width).

        Args:
            states: One vector a token.
            attention_mask: 1 for a real token.
            pooling_mask: 1 for a token that is pooled; the attention mask where it is left out, or the prompt counts.
        """
        pooled = attention_mask if pooling_mask is None or self.include_prompt else pooling_mask
        return torch.cat([_pool(mode, states, attention_mask, pooled) for mode in self.modes], dim=-1)


def _pool(mode: str, states: Tensor, real: Tensor, mask: Tensor) -> Tensor:
    if mode == "max":
        return torch.where((mask > 0).unsqueeze(-1), states, LOWEST).amax(dim=1)
    weights = (
        _weighted_mean(real, mask, states.dtype) if mode == "weighted_mean" else _WEIGHTS[mode](mask, states.dtype)
    )
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


def _weighted_mean(real: Tensor, mask: Tensor, dtype: torch.dtype) -> Tensor:
    """Weights 1, 2, 3, … from the first real token on, as sentence-transformers counts them.

    A hole counts too, and so does a prompt that is not pooled. They are divided by the length before they are added
    up: 1 + … + 512 is more than fp16 holds.
    """
    weights = (_positions(mask) - _first(real) + 1).to(dtype) / mask.shape[1] * mask.to(dtype)
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
}
"""Mode → weight of each token, (batch, length), from the mask."""


class Layers(nn.Module):
    """The weighted mean of an encoder's hidden states, as ``WeightedLayerPooling`` gives it.

    Args:
        start: The first state that counts; 0 is what the embeddings give.
        weights: One weight a state, from ``start`` on.
    """

    def __init__(self, start: int, weights: Tensor) -> None:
        super().__init__()
        self.start = start
        # Divided here, in float32: a sum of weights that is near 0 does not belong into an fp16 graph.
        self.weights = nn.Parameter(weights / weights.sum(), requires_grad=False)

    def forward(self, states: Sequence[Tensor], attention_mask: Tensor) -> Tensor:
        """Hidden states, (batch, length, width) each → (batch, length, width)."""
        chosen = states[self.start :]
        if len(chosen) != len(self.weights):
            raise PoolingError(
                "The weights of the layers do not fit the encoder.",
                got=f"{len(self.weights)} weights from layer {self.start} on",
                allowed=f"{len(chosen)} weights for {len(states)} hidden states",
                do="correct num_hidden_layers and layer_start of the repo's WeightedLayerPooling",
            )
        return (torch.stack(list(chosen), dim=-1) * self.weights).sum(dim=-1)
