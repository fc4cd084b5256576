"""Which inputs of a graph are state: the pairing rule, which nothing else declares."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from QEfficient.records import INTERNAL, RETAINED, SOURCE_MASK, TensorSpec

POSITION_DIMS = ("ctx_len", "decoder_ctx_len")
"""The dims along which a slot's state has its positions, from 0 on. State without one, as a ring, is one whole."""

SOURCE_POSITION_DIM = "encoder_ctx_len"
"""Likewise, of the caches of a source."""


def state_pairs(inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> Mapping[str, str]:
    """State input → the output that is its next value, in the inputs' order.

    An input ``X`` is state where there is an output ``X_RetainedState``, whatever its name.
    """
    return paired_names([spec.name for spec in inputs], [spec.name for spec in outputs])


def paired_names(inputs: Iterable[str], outputs: Iterable[str]) -> Mapping[str, str]:
    """As :func:`state_pairs`, of names alone."""
    given = set(outputs)
    found = {name: [name + suffix for suffix in (RETAINED, INTERNAL)] for name in inputs}
    return {name: next(one for one in both if one in given) for name, both in found.items() if given.intersection(both)}


def copy_slot(
    states: Iterable[TensorSpec],
    held: Mapping[str, NDArray[np.generic]],
    source: int,
    target: int,
    length: int | None,
) -> None:
    """Makes slot ``target`` hold what ``source`` does.

    Args:
        states: As the graph has them, with the names of their dims.
        held: Name of each → what all slots hold.
        source: Which slot.
        target: Which other.
        length: Its first positions, with what was read of its source; ``None``: all positions.
    """
    sizes: dict[int | str, int | None] = dict.fromkeys(POSITION_DIMS, length)
    if length is not None and SOURCE_MASK in held:
        read = np.flatnonzero(held[SOURCE_MASK][source])
        sizes[SOURCE_POSITION_DIM] = int(read[-1]) + 1 if len(read) else 0
    for state in states:
        whole = state.name == SOURCE_MASK  # it also says what the target no longer has
        part = tuple(slice(None if whole else sizes.get(str(dim))) for dim in state.shape[1:])
        held[state.name][target][part] = held[state.name][source][part]
