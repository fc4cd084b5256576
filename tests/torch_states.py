"""What a caller may have set in torch: a context manager a state, and all that can be read of it."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch._functorch.vmap import vmap_increment_nesting
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.modules.module import register_module_forward_hook
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode


class Halving(TorchFunctionMode):
    """Makes every result of ``torch.ones`` another one."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        return found * 0.5 if func is torch.ones else found


class Counting(TorchDispatchMode):
    """Passes everything on."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*args, **(kwargs or {}))


@contextmanager
def _set(put: Callable[[Any], object], value: Any, before: Any) -> Iterator[None]:
    put(value)
    try:
        yield
    finally:
        put(before)


@contextmanager
def _hook() -> Iterator[None]:
    handle = register_module_forward_hook(lambda module, given, found: found * 2 if isinstance(found, Tensor) else None)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def _seeds() -> Iterator[None]:
    before = torch.get_rng_state(), np.random.get_state(), random.getstate()
    torch.manual_seed(7)
    np.random.seed(7)
    random.seed(7)
    try:
        yield
    finally:
        torch.set_rng_state(before[0])
        np.random.set_state(before[1])
        random.setstate(before[2])


@contextmanager
def _anomaly() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says that it is slow
        context = torch.autograd.detect_anomaly()
    with context:
        yield


@contextmanager
def _warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


STATES: dict[str, Callable[[], AbstractContextManager[object]]] = {
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "autocast, cuda": lambda: _set(lambda on: torch.set_autocast_enabled("cuda", on), True, False),
    "float64": lambda: _set(torch.set_default_dtype, torch.float64, torch.float32),
    "bfloat16": lambda: _set(torch.set_default_dtype, torch.bfloat16, torch.float32),
    "default device": lambda: _set(torch.set_default_device, "meta", None),
    "a device's context": lambda: torch.device("meta"),
    "inference": torch.inference_mode,
    "gradients off": torch.no_grad,
    "gradients on": torch.enable_grad,
    "deterministic": lambda: _set(torch.use_deterministic_algorithms, True, False),
    "anomaly": _anomaly,
    "matmul precision": lambda: _set(torch.set_float32_matmul_precision, "medium", "highest"),
    "attention": lambda: sdpa_kernel([SDPBackend.FLASH_ATTENTION]),
    "fake tensors": FakeTensorMode,
    "vmap": lambda: vmap_increment_nesting(2, "error"),
    "functions": Halving,
    "dispatch": Counting,
    "hooks": _hook,
    "seeds": _seeds,
    "threads": lambda: _set(torch.set_num_threads, 3, torch.get_num_threads()),
    "warnings": _warnings,
}
"""Name → what a caller enters."""


def settings_of() -> tuple[Any, ...]:
    """All of it, as the caller's thread sees it."""
    cuda: Any = torch.backends.cuda
    hooks: Any = torch.nn.modules.module
    return (
        torch.is_autocast_enabled("cpu"),
        torch.is_autocast_enabled("cuda"),
        torch.get_default_dtype(),
        _default_device(),
        torch.is_inference_mode_enabled(),
        torch.is_grad_enabled(),
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.is_anomaly_enabled(),
        torch.is_anomaly_check_nan_enabled(),
        torch.get_float32_matmul_precision(),
        torch.backends.mkldnn.matmul.fp32_precision.replace("none", "ieee"),  # the same; "none" can't be had back
        torch.backends.mkldnn.conv.fp32_precision.replace("none", "ieee"),
        (cuda.flash_sdp_enabled(), cuda.mem_efficient_sdp_enabled(), cuda.math_sdp_enabled()),
        torch._C._len_torch_function_stack(),
        torch._C._len_torch_dispatch_stack(),
        dict(hooks._global_forward_hooks),
        dict(hooks._global_forward_pre_hooks),
        bytes(torch.default_generator.get_state().untyped_storage()) if not _faked() else b"",
        np.random.get_state()[1].tobytes(),  # type: ignore[index, union-attr]
        random.getstate(),
        torch.get_num_threads(),
        list(warnings.filters),
    )


def _default_device() -> str:
    """``torch.get_default_device`` makes a tensor, which fails among fake ones."""
    holder: Any = torch._GLOBAL_DEVICE_CONTEXT  # type: ignore[attr-defined]
    return str(getattr(getattr(holder, "device_context", None), "device", None))


def _faked() -> bool:
    return torch._C._len_torch_dispatch_stack() > 0 or torch._C._functorch.peek_interpreter_stack() is not None
