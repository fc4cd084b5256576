"""torch's global state, at its defaults while a model is loaded, traced or run.

What a caller sets for a thread (autocast, inference mode, gradients, a default device, modes) does not reach the thread
that torch's work is done in, see ``isolated``. What follows counts for the whole process, so it is put to torch's
defaults for the time of the work and is as it was afterwards. The count of threads is left as it is: no graph depends
on it. So are the process's random numbers, see ``random_numbers``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from QEfficient.export.process_wide import ProcessWide

_HOOKS = ("_global_forward_hooks", "_global_forward_pre_hooks")
"""Hooks on every module of the process. What they change would stand in a graph, and not in its key."""


@dataclass(frozen=True, slots=True)
class _Setting:
    """One of torch's settings.

    Attributes:
        get: Reads it.
        set: Sets it to what ``get`` gave.
        default: What it gives where nobody touched it.
    """

    get: Callable[[], Any]
    set: Callable[[Any], object]
    default: Any


def _deterministic() -> tuple[bool, bool]:
    return torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()


def _set_deterministic(value: tuple[bool, bool]) -> None:
    torch.use_deterministic_algorithms(value[0], warn_only=value[1])


def _anomaly() -> tuple[bool, bool]:
    return torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()


def _fp32_precision(operator: str) -> _Setting:
    """In which precision oneDNN multiplies float32: what ``torch.set_float32_matmul_precision`` sets on a CPU."""
    part = getattr(torch.backends.mkldnn, operator)

    def precision() -> str:
        return "ieee" if part.fp32_precision == "none" else str(part.fp32_precision)  # "none": nothing was set

    return _Setting(precision, lambda value: setattr(part, "fp32_precision", value), "ieee")


_SETTINGS = (
    _Setting(torch.get_default_dtype, torch.set_default_dtype, torch.float32),
    _Setting(_deterministic, _set_deterministic, (False, False)),
    _Setting(_anomaly, lambda value: torch.set_anomaly_enabled(*value), (False, True)),
    _Setting(torch.backends.mha.get_fastpath_enabled, torch.backends.mha.set_fastpath_enabled, True),
    _Setting(torch.backends.cuda.flash_sdp_enabled, torch.backends.cuda.enable_flash_sdp, True),
    _Setting(torch.backends.cuda.mem_efficient_sdp_enabled, torch.backends.cuda.enable_mem_efficient_sdp, True),
    _Setting(torch.backends.cuda.math_sdp_enabled, torch.backends.cuda.enable_math_sdp, True),
    _fp32_precision("matmul"),
    _fp32_precision("conv"),
)


@contextmanager
def _at_default(setting: _Setting) -> Iterator[None]:
    before = setting.get()
    if before == setting.default:
        yield
        return
    try:
        setting.set(setting.default)
        yield
    finally:
        if setting.get() == setting.default:  # else somebody else has set it meanwhile
            setting.set(before)


@contextmanager
def _no_global_hooks() -> Iterator[None]:
    module: Any = torch.nn.modules.module
    tables = [getattr(module, name) for name in _HOOKS]
    before = [dict(table) for table in tables]
    try:
        for table in tables:
            table.clear()
        yield
    finally:
        for table, hooks in zip(tables, before, strict=True):
            added = dict(table)
            table.clear()
            table.update(hooks | added)


@contextmanager
def _defaults() -> Iterator[None]:
    with ExitStack() as stack:
        for setting in _SETTINGS:
            stack.enter_context(_at_default(setting))
        stack.enter_context(_no_global_hooks())
        yield


default_state = ProcessWide(_defaults)
"""Until everybody who entered it has left, torch's settings are its defaults."""
