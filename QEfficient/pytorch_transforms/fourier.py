"""FNet's Fourier transform as products of matrices: for any length, and without an operator for complex numbers."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from QEfficient.pytorch_transforms.blocks import Block


class FourierTransform(Block):
    """In place of ``FNetBasicFourierTransform``: the real part of a transform over positions and features."""

    def forward(self, hidden_states: Tensor) -> tuple[Tensor]:
        """As the old block: (batch, length, width) → a tuple of the same shape."""
        rows, columns = _waves(hidden_states.shape[1]), _waves(hidden_states.shape[2])
        real = torch.matmul(torch.matmul(rows[0], hidden_states), columns[0])
        return (real - torch.matmul(torch.matmul(rows[1], hidden_states), columns[1]),)


def _waves(size: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines of the transform of that size, (size, size) each.

    Turns are taken off as whole numbers: the angle of 500 times 500 has few correct digits left in float32.
    """
    places = torch.arange(size)
    whole = places[-1:] + 1  # the size as a tensor: the exporter has no remainder by a free number
    angles = torch.remainder(places[:, None] * places, whole).to(torch.float32) * (2.0 * math.pi / whole)
    return angles.cos(), angles.sin()
