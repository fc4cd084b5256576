"""The tables of a model that have a row a token: which they are, and a model with some of their rows."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from QEfficient.errors import UsageError
from QEfficient.export.isolated import isolated
from QEfficient.records import Json
from QEfficient.source.identity import tensors

if TYPE_CHECKING:
    import torch
    from torch import nn


@isolated
def find_tables(module: nn.Module) -> dict[str, int]:
    """Path of each tensor that has an entry a token → the dim of these: the word table, and a head over words.

    What depends on the size of the vocabulary is told by transformers itself: the model is made anew without weights,
    for one token more, and what has another shape then is such a tensor.

    Raises:
        UsageError: There is no table of words, or it is none with one row a token.
    """
    import torch

    config: Any = module.config
    size = getattr(config, "vocab_size", None)
    table = _word_table(module)
    if not isinstance(table, torch.nn.Embedding) or not isinstance(size, int) or len(table.weight) != size:
        raise _not_found(type(module).__name__, f"{type(table).__name__} of {size} tokens by the config")
    shapes = [_shapes(module, tokens) for tokens in (size, size + 1)]
    found: dict[str, int] = {}
    for path, tensor in tensors(module):
        before, after = (one.get(path, ()) for one in shapes)
        dims = [dim for dim, (old, new) in enumerate(zip(before, after, strict=False)) if old != new]
        if len(before) != len(after) or len(dims) > 1 or any(tensor.shape[dim] != size for dim in dims):
            raise _not_found(type(module).__name__, f"{path} of shape {tuple(tensor.shape)}")
        if dims:
            found[path] = dims[0]
    if not any(tensor is table.weight for path, tensor in tensors(module) if path in found):
        raise _not_found(type(module).__name__, f"{type(table).__name__} {tuple(table.weight.shape)}")
    return found


def table_bytes(module: nn.Module, tables: Mapping[str, int]) -> int:
    """Bytes of these tensors, one that has two paths once."""
    once = {id(tensor): tensor for path, tensor in tensors(module) if path in tables}
    return sum(tensor.numel() * tensor.element_size() for tensor in once.values())


@isolated
def cut_tables(
    module: nn.Module, tables: Mapping[str, int], rows: Sequence[int], config: Mapping[str, Json]
) -> nn.Module:
    """A copy of the model with some rows of its tables; it shares all other tensors with the model.

    Args:
        module: The model. It stays as it is.
        tables: As :func:`find_tables` gives them.
        rows: The rows that stay, in their new order.
        config: What of the config is another then; so for ``generation_config``, where that has it.
    """
    import torch

    from QEfficient.pytorch_transforms.blocks import structural_copy

    made: Any = structural_copy(module)
    made.config = copy.deepcopy(made.config)
    places = torch.tensor(list(rows), dtype=torch.long)
    cut: dict[int, torch.Tensor] = {}
    for path, tensor in list(tensors(made)):
        if path not in tables:
            continue
        parent, _, name = path.rpartition(".")
        part = made.get_submodule(parent)
        if id(tensor) not in cut:
            fewer = tensor.detach().index_select(tables[path], places)
            cut[id(tensor)] = torch.nn.Parameter(fewer, tensor.requires_grad) if name in part._parameters else fewer
        (part._parameters if name in part._parameters else part._buffers)[name] = cut[id(tensor)]
        _tell_sizes(part, config.get("pad_token_id"))
    for name, value in {"vocab_size": len(places), **config}.items():
        setattr(made.config, name, value)
    return made  # type: ignore[no-any-return]


@isolated
def narrowed(module: nn.Module, dtype: str | None) -> nn.Module:
    """The model in 16 bits, where its files had it so and no number of it changes; else as it is.

    Args:
        module: The model as it was loaded, which is in float32. It stays as it is.
        dtype: What its ``config.json`` says: ``"bfloat16"``.
    """
    import torch

    wanted = {"float16": torch.float16, "bfloat16": torch.bfloat16}.get(str(dtype).removeprefix("torch."))
    floats = [tensor for _, tensor in tensors(module) if tensor.is_floating_point()]
    if wanted is None or not all(torch.equal(one.to(wanted).to(one.dtype), one) for one in floats):
        return module
    return copy.deepcopy(module).to(wanted)


def _tell_sizes(part: nn.Module, pad: Json) -> None:
    """What torch's own modules say of the shapes of their weights."""
    import torch

    if isinstance(part, torch.nn.Embedding):
        part.num_embeddings = len(part.weight)
        part.padding_idx = None if part.padding_idx is None else pad
    elif isinstance(part, torch.nn.Linear):
        part.out_features, part.in_features = part.weight.shape


def _word_table(module: nn.Module) -> nn.Module | None:
    whole: Any = module
    try:
        found: nn.Module | None = whole.get_input_embeddings()
    except (AttributeError, NotImplementedError):  # as transformers says that there is none
        return None
    return found


def _shapes(module: nn.Module, tokens: int) -> dict[str, tuple[int, ...]]:
    """Path → shape, of the module's class for so many tokens."""
    import torch

    config: Any = copy.deepcopy(module.config)
    config.vocab_size = tokens
    with torch.device("meta"):
        made: Any = type(module)(config)
    return {path: tuple(tensor.shape) for path, tensor in tensors(made)}


def _not_found(name: str, got: str) -> UsageError:
    return UsageError(
        f"The vocabulary of {name} can't be pruned: it has no table with one row a token that could be cut.",
        got=got,
        allowed="a model of transformers with one table of words, whose size is config.vocab_size",
        do="keep the model as it is; of a model of several parts prune the encoder of texts by itself",
    )
