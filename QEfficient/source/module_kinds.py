"""What a caller's module may be besides a plain model: wrapped, which is undone, or of a kind that is refused by name.

Kinds are told by the names of their classes, so that nothing is imported for them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from QEfficient.errors import UsageError

if TYPE_CHECKING:
    from torch import nn

_WRAPPERS = {
    "torch._dynamo.eval_frame.OptimizedModule": "_orig_mod",
    "torch.nn.parallel.data_parallel.DataParallel": "module",
    "torch.nn.parallel.distributed.DistributedDataParallel": "module",
}
"""Class around a whole model → where it keeps it."""

_ONE_ADAPTER = "a model with an adapter that changes weights, such as LoRA"
_REFUSED = (
    ("torch.jit.", "compiled by TorchScript, which keeps no code that could be exported", "the model it was made of"),
    ("torch.distributed.fsdp.", "sharded: each process has a part of the weights", "a model with all its weights"),
    ("torch.ao.nn.quantized.", "quantised by torch.ao", 'the model in floating point, and compile(compute="int8")'),
    ("torchao.", "quantised by torchao", 'the model in floating point, and compile(compute="int8")'),
    ("bitsandbytes.", "quantised by bitsandbytes", 'the model in floating point, and compile(compute="int8")'),
    ("peft.tuners.xlora.", "one whose adapters are mixed anew for each text, by a model beside it", _ONE_ADAPTER),
    ("peft.tuners.poly.", "one whose adapters are mixed by a task that comes with each row", _ONE_ADAPTER),
    ("torch.distributed.tensor.", "spread over several processes", "a model with all its weights"),
    ("torch._subclasses.fake_tensor.", "made of fake tensors, which have no values", "a model with its weights"),
)
"""Beginning of a class's full name, of a module or a tensor; what is so; what to hand in."""


def unwrapped(module: nn.Module) -> nn.Module:
    """The model inside of ``torch.compile``'s module, torch's parallel ones and peft's; another module as it is.

    Of peft's wrappers it is the HuggingFace model, with the adapters' layers in place.

    Raises:
        UsageError: A kind that can't be exported.
    """
    while (inner := _inside(module)) is not None:
        _check_part(module, module)
        module = inner
    if hasattr(module, "named_modules"):
        for part in _parts(module):
            _check_part(module, part)
    return module


def _inside(module: Any) -> nn.Module | None:
    """What a wrapper wraps; ``None`` where the module is none."""
    name = _class_name(type(module))
    if name in _WRAPPERS:
        wrapped: nn.Module = getattr(module, _WRAPPERS[name])
        return wrapped
    if name.startswith("peft.tuners."):  # what puts the adapter's layers into a model; a layer has no model
        model: nn.Module | None = getattr(module, "model", None)
        return model
    if not name.startswith("peft.") or not hasattr(module, "base_model"):
        return None
    config = getattr(module, "active_peft_config", None)  # PeftMixedModel has none: all its kinds change weights
    if config is not None and config.is_prompt_learning:
        raise UsageError(
            "The module puts learnt prompts before each text, which a graph of its model alone would leave out.",
            got=f"{type(module).__qualname__} with {config.peft_type.value}",
            allowed="an adapter that changes weights, such as LoRA, DoRA, IA3, LoHa or VeRA",
            do="run this model with peft itself",
        )
    if getattr(config, "alora_invocation_tokens", None):
        raise _refused(module, module, "one whose adapter only some tokens switch on", _ONE_ADAPTER)
    tuner: nn.Module = module.base_model
    return tuner


def _check_part(module: nn.Module, part: object) -> None:
    for kind in type(part).__mro__:
        for start, what, do in _REFUSED:
            if _class_name(kind).startswith(start):
                raise _refused(module, part, what, do)


def _parts(module: nn.Module) -> Iterator[object]:
    yield from module.modules()
    yield from module.parameters()
    yield from module.buffers()


def _class_name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _refused(module: object, part: object, what: str, do: str) -> UsageError:
    inside = "" if part is module else f" in a {type(module).__qualname__}"
    return UsageError(
        f"The module can't be exported: it is {what}.",
        got=f"{_class_name(type(part))}{inside}",
        allowed="a torch.nn.Module with a transformers config, in floating point and whole",
        do=f"hand in {do}, or load by name with QEFFAutoModel.from_pretrained",
    )
