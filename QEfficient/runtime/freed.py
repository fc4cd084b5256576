"""Freed memory goes back to the system."""

from __future__ import annotations

import ctypes
import gc


def give_back() -> None:
    """Collects cyclic garbage, and lets glibc return what was freed: else it keeps blocks of up to 32 MB for later.

    A session's packed weights are such blocks. What is loaded next is then held beside them (``malloc_trim(3)``). Where
    the C library has no such call, only the garbage goes.
    """
    gc.collect()
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # another C library
        return
    trim(0)
