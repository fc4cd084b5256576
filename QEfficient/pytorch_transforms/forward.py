"""A forward whose parameters are a graph's inputs, by name: the exporter reads them off its signature."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from torch import Tensor

Finish = Callable[[dict[str, Tensor]], Any]


def argument(name: str) -> str:
    """The parameter of an input: ``past_key.0`` is no name in Python, ``past_key_0`` is."""
    return name.replace(".", "_")


def forward_by_name(finish: Finish, names: Sequence[str]) -> Callable[..., Any]:
    """A forward that hands its arguments on as one dict.

    Args:
        finish: Takes them, by the names of the graph's inputs.
        names: Of the inputs. One may be left out of a call.
    """
    made: Any = partial(_call, finish, {argument(name): name for name in names})  # no closure: a copy has its own
    made.__signature__ = inspect.Signature(
        [inspect.Parameter(argument(name), inspect.Parameter.KEYWORD_ONLY, default=None) for name in names]
    )
    forward: Callable[..., Any] = made
    return forward


def _call(finish: Finish, names: dict[str, str], /, **arrays: Tensor) -> Any:
    return finish({names.get(name, name): array for name, array in arrays.items()})
