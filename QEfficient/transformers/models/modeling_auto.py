"""The Auto classes under the path at which the vendor's package has them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import QEfficient

if TYPE_CHECKING:
    from QEfficient import *  # noqa: F403

__all__ = [name for name in QEfficient.__all__ if name.startswith("QEFF")]  # noqa: PLE0605 - read off the one list


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(QEfficient, name)


def __dir__() -> list[str]:
    return sorted(__all__)
