"""Random numbers of our own, so that nobody else's are drawn.

transformers fills weights that a checkpoint lacks with random numbers, and peft starts an adapter with them. They come
from torch's default generator, which is the whole process's: seeding it, or rewinding it afterwards, would give another
thread numbers that it had already. So it is left alone, and what is drawn in this thread comes from another generator.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

_SEED = 0
_DRAWS = frozenset(
    "rand randn randint randperm rand_like randn_like randint_like normal bernoulli multinomial poisson "
    "uniform_ normal_ random_ bernoulli_ exponential_ geometric_ cauchy_ log_normal_".split()
)
"""torch's functions that take a generator."""


class OwnRandomNumbers(TorchFunctionMode):
    """While it is entered, this thread's draws on the CPU come from a generator of its own, the same at each entry.

    Nothing of the process is changed: other threads draw on from the generators that they have.
    """

    def __init__(self) -> None:
        super().__init__()
        self._generator = torch.Generator().manual_seed(_SEED)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Called by torch in place of each of its functions."""
        given = dict(kwargs or {})
        draws = getattr(func, "__name__", "") in _DRAWS or "generator" in given  # the latter: those of torch.nn.init
        if draws and given.get("generator") is None and _on_cpu(args, given):
            given["generator"] = self._generator
        return func(*args, **given)


def _on_cpu(args: tuple[Any, ...], keywords: dict[str, Any]) -> bool:
    """Whether a generator of the CPU can be used: also where nothing is drawn at all, on the meta device."""
    devices = [value.device for value in (*args, *keywords.values()) if isinstance(value, Tensor)]
    devices += [torch.device(keywords["device"])] if keywords.get("device") is not None else []
    return all(device.type in ("cpu", "meta") for device in devices)
