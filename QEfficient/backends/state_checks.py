"""What callers pass for a slot, and for what it holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from QEfficient.backends.input_check import check_array_names, check_dtype
from QEfficient.errors import InputError, UsageError
from QEfficient.records import TensorSpec


def check_slot(slot: int, states: Sequence[TensorSpec]) -> None:
    """Refuses a slot that the state does not have.

    Args:
        slot: From 0.
        states: The state inputs with their sizes; slots are along the first axis.

    Raises:
        UsageError: There is no such slot.
    """
    slots = int(states[0].shape[0])
    if not 0 <= slot < slots:
        raise UsageError(
            f"There is no slot {slot}.",
            got=slot,
            allowed=f"0 to {slots - 1}",
            do="choose one of these, or compile with a larger kv_cache_batch_size",
        )


def check_state(state: Mapping[str, NDArray[np.generic]], states: Sequence[TensorSpec]) -> None:
    """Refuses what is not one slot's state.

    Args:
        state: Name → array without the slots' axis.
        states: The state inputs with their sizes.

    Raises:
        InputError: A name, dtype or shape does not fit.
    """
    check_array_names(tuple(state), tuple(spec.name for spec in states))
    for spec in states:
        check_dtype(spec.name, state[spec.name], spec.dtype)
        if state[spec.name].shape != spec.shape[1:]:
            raise InputError(
                f"The state {spec.name!r} has another shape.",
                got=state[spec.name].shape,
                allowed=f"{spec.shape[1:]}, a slot's",
                do="write what read() gave, of a session of the same program",
            )
