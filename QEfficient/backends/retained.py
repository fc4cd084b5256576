"""Which inputs of a graph are state: the pairing rule, which nothing else declares."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from QEfficient.records import TensorSpec

RETAINED = "_RetainedState"
INTERNAL = "_InternalRetainedState"
"""What the vendor's exporter puts behind a name inside functions; both spellings are understood."""

POSITION_DIMS = ("ctx_len", "decoder_ctx_len")
"""The dims along which a slot's state has its positions, from 0 on. State without one, as a ring or the caches of a
source, is one whole."""


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


def first_positions(state: TensorSpec, length: int | None) -> tuple[slice, ...]:
    """Which part of a slot's state its first positions are.

    Args:
        state: As the graph has it, with the names of its dims.
        length: Positions; ``None``: all.

    Returns:
        Of each axis behind the slots' one.
    """
    return tuple(slice(length if dim in POSITION_DIMS else None) for dim in state.shape[1:])
