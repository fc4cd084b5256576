"""Swapping blocks of a torch model by exact type, with a declared mapping of weights.

A block is a module class that takes the place of one from transformers. It says in ``weights`` how each of its own
tensors is made from the replaced block's, so that the swap can be checked: every old tensor is used exactly once and
every new one is filled, with the shape and dtype that the new block declares. A block's old tensors are let go as
soon as its new ones stand, so a model is never in memory twice.

The caller's model is never changed. :func:`exportable` works on a copy of the module tree whose tensors are the
caller's own.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from QEfficient.errors import TransformError

_CHANGING = frozenset({"longrope", "dynamic"})


@dataclass(frozen=True)
class WeightRule:
    """How one tensor of the new block is made from tensors of the old one.

    Attributes:
        names: Names of the tensors that it uses, in the old block.
        make: From these tensors and the old block to the new tensor.
    """

    names: tuple[str, ...]
    make: Callable[[Sequence[Tensor], Any], Tensor]


def same(name: str) -> WeightRule:
    """The tensor of that name, shared and not copied."""
    return WeightRule((name,), lambda tensors, old: tensors[0])


def scaled(name: str, by: Callable[[Any], float]) -> WeightRule:
    """The tensor of that name times a number that ``by`` reads from the old block."""
    return WeightRule((name,), lambda tensors, old: tensors[0].detach() * by(old))


def scaled_layer(name: str, by: Callable[[Any], float]) -> dict[str, WeightRule]:
    """Both tensors of the linear layer of that name times a number, so that its result is."""
    return {full: scaled(full, by) for full in (f"{name}.weight", f"{name}.bias")}


class Block(nn.Module):
    """What takes the place of a block of transformers.

    A subclass makes its parameters in ``__init__(old)`` with their final shapes. It is called on the meta device,
    where they take no memory. It may also keep submodules of the old block as they are, under their old names. Its
    forward takes what the old block's forward takes.
    """

    weights: ClassVar[Mapping[str, WeightRule]] = {}
    """Name of an own tensor → its rule. A name that is not listed keeps its old tensor of the same name."""

    def __init__(self, old: nn.Module) -> None:
        super().__init__()


@dataclass(frozen=True)
class Swap:
    """Replace blocks whose type is exactly ``source``; a subclass may compute something else and is left alone.

    So may a block that was changed by hand: one with a hook, a patched method, or a layer that is not torch's own
    (LoRA, quantised weights).
    """

    source: type[nn.Module]
    target: type[Block]


@dataclass(frozen=True)
class Swapped:
    """One block that was replaced: its path in the model and both class names."""

    path: str
    source: str
    target: str


def exportable(
    model: nn.Module, swaps: Sequence[Swap] = (), *, attention: str = "eager"
) -> tuple[nn.Module, tuple[Swapped, ...]]:
    """A copy of a model, made ready for export, that shares the model's tensors.

    The copy is in eval mode, in float32, with attention in plain operators and without a cache of keys and values; its
    blocks are swapped. What stays: the caller's model with its mode, config, layout and numbers. Memory grows only by
    the tensors that a rule computes, and by those that were not float32.

    Args:
        model: Any module; a transformers model as a rule.
        swaps: Blocks to replace.
        attention: transformers' name of the attention function.

    Returns:
        The copy, and what was swapped in it.

    Raises:
        TransformError: A block's mapping of weights does not fit.
    """
    twin = structural_copy(model).eval()
    _as_float32(twin)
    for config in _configs(twin):
        config._attn_implementation = attention
        config.use_cache = False
        config.return_dict = True
    _freeze_rotary(twin)
    whole = nn.ModuleDict({"model": twin})  # so that the model itself may be a block
    swapped = swap_blocks(whole, swaps)
    return whole["model"], tuple(replace(one, path=one.path.partition(".")[2]) for one in swapped)


def _freeze_rotary(model: nn.Module) -> None:
    """Rotary positions of the kinds that choose their angles by the longest row (LongRoPE, dynamic NTK) keep the first.

    ``architectures.record.rotary`` sets the limit of a row so that HuggingFace's model never chooses others.
    """
    module: Any  # its attributes are transformers' own
    for module in model.modules():
        kinds = getattr(module, "rope_type", None)
        if isinstance(kinds, str) and kinds in _CHANGING:
            module.rope_type = "default"
        elif isinstance(kinds, dict) and _CHANGING & set(kinds.values()):
            module.rope_type = dict.fromkeys(kinds, "default")
        else:
            continue
        for name in [name for name in module._buffers if name.endswith("original_inv_freq")]:
            module._buffers[name.replace("original_inv_freq", "inv_freq")] = module._buffers[name]


def structural_copy(model: nn.Module) -> nn.Module:
    """A copy of the module tree with everything in it but the tensors, which are shared.

    What ``torch.compile`` made of a part of it is that part again.

    Raises:
        TransformError: Something in the model can't be copied, such as a lock.
    """
    held = [value for part in model.modules() for value in vars(part).values() if isinstance(value, Tensor)]
    tensors = [*model.parameters(), *model.buffers(), *held]
    try:
        twin = copy.deepcopy(model, {id(tensor): tensor for tensor in tensors})
    except Exception as error:  # whatever the copy of a foreign object raises
        raise TransformError(
            f"{type(model).__name__} can't be copied, and the export must not change the caller's own module.",
            got=f"{type(error).__name__}: {error}",
            allowed="modules that copy.deepcopy takes",
            do="take out of the module what can't be copied (locks, open files, handles), then compile again",
        ) from error
    _uncompile(twin)
    return twin


def _uncompile(model: nn.Module) -> None:
    """Undoes ``torch.compile`` of submodules and of their forward, which would be exported in place of their code."""
    for _, parent, name, child in list(_children(model)):
        if type(child).__qualname__ == "OptimizedModule":  # its import takes longer than a run
            parent._modules[name] = child._modules["_orig_mod"]
    for part in model.modules():
        forward = vars(part).get("forward")
        compiled = getattr(forward, "_torchdynamo_orig_callable", None)
        if compiled is not None and getattr(compiled, "__func__", None) is type(part).forward:
            del part.forward  # the class's own again


def swap_blocks(model: nn.Module, swaps: Sequence[Swap]) -> tuple[Swapped, ...]:
    """Replaces, in place, each block whose type is exactly a swap's source.

    A block that stands in several places (shared layers) is replaced once and stays shared.

    Returns:
        What was replaced, in the order of the model's modules.

    Raises:
        TransformError: A mapping of weights does not fit; the block's path and the tensor are named.
    """
    by_type = {swap.source: swap.target for swap in swaps}
    done: dict[int, tuple[nn.Module, Block]] = {}  # the old block too: another object could get its id
    report: dict[int, Swapped] = {}
    for path, parent, name, old in reversed(list(_children(model))):  # inner blocks first: an outer one may keep them
        target = by_type.get(type(old))
        if target is None or not (id(old) in done or _as_it_was_made(old)):
            continue
        if id(old) not in done:
            done[id(old)] = old, _replacement(old, target, path)
        report[id(old)] = Swapped(path, type(old).__name__, target.__name__)
        setattr(parent, name, done[id(old)][1])
    order = {path: place for place, (path, *_) in enumerate(_children(model))}
    return tuple(sorted(report.values(), key=lambda one: order[one.path]))


def is_patched(part: nn.Module) -> bool:
    """Whether a module has a hook, or an attribute of its own in the place of a method of its class."""
    own_methods = any(callable(getattr(type(part), name, None)) for name in vars(part))
    return own_methods or bool(part._forward_hooks or part._forward_pre_hooks)


def _as_it_was_made(block: nn.Module) -> bool:
    layers = [part for part in block.modules() if part is not block]
    known = ("torch.nn.modules.", "transformers.activations", "transformers.models.", "QEfficient.pytorch_transforms.")
    return not any(map(is_patched, (block, *layers))) and all(
        type(layer).__module__.startswith(known) for layer in layers
    )


def _children(model: nn.Module) -> Iterator[tuple[str, nn.Module, str, nn.Module]]:
    """Every edge of the module tree: path of the child, its parent, its name there, the child."""
    for parent_path, parent in model.named_modules():
        for name, child in parent._modules.items():  # named_children() leaves out a child seen before
            if child is not None:
                yield f"{parent_path}.{name}".lstrip("."), parent, name, child


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


def _replacement(old: nn.Module, target: type[Block], path: str) -> Block:
    """The new block, filled; the old one is left without tensors."""
    with torch.device("meta"):
        new = target(old)
    held = _tensors(old)
    kept = {name for name, tensor in _tensors(new).items() if tensor is held.get(name)}
    wanted = {name: tensor for name, tensor in _tensors(new).items() if name not in kept}
    rules: dict[str, WeightRule] = {**{name: same(name) for name in wanted}, **target.weights}
    _check_names(rules, wanted, {name: tensor for name, tensor in held.items() if name not in kept}, path, target)
    for name, rule in rules.items():
        held = _tensors(old)
        made = rule.make([held[n] for n in rule.names], old)
        _check_tensor(made, wanted[name], f"{path}.{name}", target)
        _place(new, name, made)
        for used in rule.names:
            _drop(old, used)
    new.train(old.training)
    return new


def _check_names(
    rules: Mapping[str, WeightRule],
    wanted: Mapping[str, Tensor],
    held: Mapping[str, Tensor],
    path: str,
    target: type[Block],
) -> None:
    used = [name for rule in rules.values() for name in rule.names]
    wrong = {
        "rules for tensors that the new block does not have": sorted(set(rules) - set(wanted)),
        "tensors that the old block does not have": sorted(set(used) - set(held)),
        "tensors of the old block that no rule uses": sorted(set(held) - set(used)),
        "tensors of the old block that are used twice": sorted({name for name in used if used.count(name) > 1}),
    }
    faults = {what: names for what, names in wrong.items() if names}
    if faults:
        what = f"The weights of {target.__name__} do not fit the block at {path!r}."
        got = "; ".join(f"{what}: {', '.join(names)}" for what, names in faults.items())
        allowed = "every tensor of the old block used exactly once, every tensor of the new block filled"
        raise _misfit(target, what, got, allowed)


def _check_tensor(made: Tensor, wanted: Tensor, path: str, target: type[Block]) -> None:
    if made.shape != wanted.shape or made.dtype != wanted.dtype:
        what = f"The tensor made for {path!r} does not fit {target.__name__}."
        got, allowed = (f"{tuple(tensor.shape)}, {tensor.dtype}" for tensor in (made, wanted))
        raise _misfit(target, what, got, allowed)


def _misfit(target: type[Block], what: str, got: str, allowed: str) -> TransformError:
    do = f"correct {target.__name__}.weights, or leave the swap of this block out"
    return TransformError(what, got=got, allowed=allowed, do=do)


def _owner(module: nn.Module, name: str) -> tuple[nn.Module, str]:
    path, _, leaf = name.rpartition(".")
    return module.get_submodule(path), leaf


def _place(module: nn.Module, name: str, tensor: Tensor) -> None:
    owner, leaf = _owner(module, name)
    if leaf in owner._buffers:
        owner._buffers[leaf] = tensor
    else:
        owner._parameters[leaf] = (
            tensor if isinstance(tensor, nn.Parameter) else nn.Parameter(tensor, requires_grad=False)
        )


def _drop(module: nn.Module, name: str) -> None:
    owner, leaf = _owner(module, name)
    owner._parameters.pop(leaf, None)
    owner._buffers.pop(leaf, None)


def _as_float32(model: nn.Module) -> None:
    """Replaces half-precision tensors by float32 ones. ``model.float()`` would change the caller's tensors too."""
    made: dict[int, Any] = {}
    for module in model.modules():
        for group in (module._parameters, module._buffers):
            for name, tensor in group.items():
                if tensor is None or not tensor.is_floating_point() or tensor.dtype == torch.float32:
                    continue
                if id(tensor) not in made:
                    full = tensor.detach().float()
                    made[id(tensor)] = (tensor, nn.Parameter(full, False) if group is module._parameters else full)
                group[name] = made[id(tensor)][1]


def _configs(model: nn.Module) -> Iterator[Any]:
    """The transformers config of each module of the model that has one."""
    configs = (getattr(module, "config", None) for module in model.modules())
    return (config for config in configs if hasattr(config, "_attn_implementation"))
