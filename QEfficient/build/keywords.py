"""The keywords of ``compile`` that are the same whatever is compiled: checked, or refused by name."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from QEfficient import arguments
from QEfficient.backends.base import Backend
from QEfficient.backends.refusals import other_precision
from QEfficient.errors import NotYetSupportedError, OptionError, unknown
from QEfficient.records import Json

CORES = 16


class Unset(int):
    """The default of a keyword, told from the same number given by a caller."""


def unless_left_out(name: str, value: object, unit: str) -> int | None:
    """The caller's number; ``None`` where it is the default of the keyword."""
    return None if isinstance(value, Unset) else arguments.positive(name, value, unit)


def compute_of(backend: Backend, compute: str | None) -> str:
    """The precision that is asked for, or the backend's default.

    Raises:
        OptionError: The backend does not have it.
    """
    chosen = compute if compute is not None else backend.compute[0]
    if chosen not in backend.compute:
        raise other_precision(backend.name, chosen, backend.compute)
    return chosen


def served(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options, numbers of any library as ints, without keywords of the vendor's that are not built and are off.

    Raises:
        NotYetSupportedError: Such a keyword is on.
    """
    for name in ("enable_qnn", "qnn_config"):
        if options.get(name):
            raise NotYetSupportedError(
                f"{name} is not supported yet.",
                got=f"{name} was set",
                allowed="the compiler of the Cloud AI SDK (leave it out)",
                do=f"drop {name}",
            )
    kept = {name: value for name, value in options.items() if name not in ("enable_qnn", "qnn_config")}
    whole = {name: arguments.whole(value) for name, value in kept.items()}
    return {name: value if whole[name] is None else whole[name] for name, value in kept.items()}


def verify_limits(value: object) -> dict[str, Json] | None:
    """The caller's limits as a mapping, checked."""
    if value is None:
        return None
    from QEfficient.numerics.verify import Limits, limits_for  # what verifies, which the start of a program needs not

    checked = limits_for("fp32", value)
    found: dict[str, Json] = dataclasses.asdict(checked)
    return found if isinstance(value, Limits) else {name: found[name] for name in value}  # type: ignore[attr-defined]


def verify_mode(value: object, texts: object = None, limits: object = None) -> str:
    """A checked ``verify``; texts and limits go with ``"on"``."""
    if value not in ("on", "off"):
        do = 'leave it out; "off" skips the check of the exported numbers and is recorded'
        raise unknown(OptionError, "Unknown verify mode.", value, ("on", "off"), argument="verify", do=do)
    if value == "off" and (texts or limits is not None):
        raise OptionError(
            'verify="off" runs no text and holds no limit.',
            got="texts=…" if texts else f"limits={limits!r}",
            allowed='texts and limits with verify="on"',
            do="leave verify out, or texts and limits",
        )
    return str(value)
