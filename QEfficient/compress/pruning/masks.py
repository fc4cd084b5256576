"""Zeros in place of weights, one by one: the matrices keep their shapes, and the runtimes here gain nothing by them."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from QEfficient.arguments import is_number
from QEfficient.errors import OptionError, UsageError
from QEfficient.export.isolated import isolated
from QEfficient.records import Json

if TYPE_CHECKING:
    from torch import Tensor, nn

NO_GAIN = "no gain in speed or size: the runtimes here compute with zeros as with any other number and store them all"
"""What zeros bring, as every report of them says it."""


@dataclass(frozen=True, slots=True, eq=False)  # a module is equal to itself only
class Masked:
    """A module some of whose weights are zero, and how many.

    Attributes:
        module: Of the class that it was made from; an ordinary model of transformers.
        pattern: Which weights are zero: ``"magnitude"``: the smallest of each matrix; ``"2:4"``: of each 4 inputs of an
            output in a row, all but the 2 largest.
        matrices: How many matrices were masked.
        left_out: Paths of matrices that the pattern does not fit.
        zeros: How many of their weights are zero now.
        weights: How many weights they have.
    """

    module: nn.Module
    pattern: str
    matrices: int
    left_out: tuple[str, ...]
    zeros: int
    weights: int

    @property
    def share_zero(self) -> float:
        """Of the masked matrices' weights, which share is zero, from 0 to 1."""
        return self.zeros / self.weights

    @property
    def told(self) -> str:
        """In a few words, for tables and reports."""
        return f"{self.pattern}: {self.share_zero:.0%} of the encoder's matrices are zeros; {NO_GAIN}"

    def to_dict(self) -> dict[str, Json]:
        """For JSON."""
        return {
            "pattern": self.pattern,
            "share_zero": self.share_zero,
            "matrices": self.matrices,
            "left_out": list(self.left_out),
            "zeros": self.zeros,
            "weights": self.weights,
            "told": self.told,
        }


@isolated
def mask_smallest(module: nn.Module, share: float) -> Masked:
    """Sets the smallest weights of each matrix of the encoder to zero, in a copy (Han et al., 2015).

    Args:
        module: A model of transformers. It stays as it is, and so do tables of words, norms and biases.
        share: Of each matrix's weights, how many become zero, above 0 and below 1; rounded down.

    Raises:
        OptionError: ``share`` is no such number.
        UsageError: The model has no matrices.
    """
    if not is_number(share) or not 0 < share < 1:
        raise OptionError(
            "The share of zeros is out of range.",
            got=f"share={share!r}",
            allowed="a number above 0 and below 1, such as 0.5",
            do="correct share",
        )

    def zeros(weight: Tensor) -> Tensor:
        import torch

        chosen = torch.zeros(weight.numel(), dtype=torch.bool)
        chosen[weight.abs().flatten().argsort(stable=True)[: int(share * weight.numel())]] = True
        return chosen.view(weight.shape)

    return _masked(module, "magnitude", zeros, 1)


@isolated
def mask_n_of_m(module: nn.Module, pattern: str = "2:4") -> Masked:
    """Keeps of each M inputs in a row of an output the N largest weights, in a copy (Mishra et al., 2021).

    Args:
        module: A model of transformers. It stays as it is, and so do tables of words, norms and biases. A matrix whose
            number of inputs is no multiple of M is left out.
        pattern: ``"N:M"``, such as ``"2:4"`` or ``"4:8"``.

    Raises:
        OptionError: ``pattern`` is none.
        UsageError: The model has no matrices that it fits.
    """
    found = re.fullmatch(r"([1-9]\d*):([1-9]\d*)", pattern) if isinstance(pattern, str) else None
    keep, of = (int(found[1]), int(found[2])) if found else (0, 0)
    if not 0 < keep < of:
        raise OptionError(
            "The pattern of a mask is not N:M.",
            got=f"pattern={pattern!r}",
            allowed="two whole numbers, the first one smaller, such as '2:4' or '4:8'",
            do="correct pattern",
        )

    def zeros(weight: Tensor) -> Tensor:
        import torch

        groups = weight.abs().reshape(-1, of)
        chosen = torch.zeros_like(groups, dtype=torch.bool)
        chosen.scatter_(1, groups.argsort(dim=1, stable=True)[:, : of - keep], True)
        return chosen.view(weight.shape)

    return _masked(module, pattern, zeros, of)


def _masked(module: nn.Module, pattern: str, zeros: Any, multiple: int) -> Masked:
    """The copy with zeros where ``zeros`` of a matrix, an output a row, says."""
    import torch

    made = copy.deepcopy(module)
    left_out, total, none, matrices = [], 0, 0, 0
    with torch.no_grad():
        for path, weight in _matrices(made):
            if weight.shape[1] % multiple:
                left_out.append(path)
                continue
            weight.masked_fill_(zeros(weight), 0.0)  # a view, where inputs stand in rows
            matrices, total, none = matrices + 1, total + weight.numel(), none + int((weight == 0).sum())
    if not matrices:
        raise UsageError(
            f"{type(module).__name__} has no matrices that can be masked.",
            got=f"{len(left_out)} whose inputs are no multiple of {multiple}" if left_out else "no linear layers",
            allowed="a model of transformers with linear layers",
            do="choose another pattern, or cut heads and inner values instead",
        )
    return Masked(made, pattern, matrices, tuple(left_out), none, total)


def _matrices(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """The encoder's matrices with an output a row, each once; none that is a table of words, too."""
    from torch.nn import Embedding

    from QEfficient.pytorch_transforms.units import is_projection

    whole: Any = module
    encoder = getattr(whole, "base_model", whole)
    own = {id(part) for part in encoder.modules()}
    seen = {id(part.weight) for part in module.modules() if isinstance(part, Embedding)}
    for path, part in module.named_modules():
        held: Any = part
        if id(part) in own and is_projection(part) and id(held.weight) not in seen:
            seen.add(id(held.weight))
            weight = held.weight.detach()
            yield path, weight if hasattr(part, "out_features") else weight.T
