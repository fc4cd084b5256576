"""What a caller hands to ``generate`` → :class:`~QEfficient.records.Rows`. All checks of inputs are here.

Nothing is cropped or filled in silence beyond what HuggingFace itself does: a missing ``attention_mask`` is all ones,
missing ``token_type_ids`` are zeros. A missing ``pooling_mask`` pools every real token. Boxes, paths and the like
(:mod:`QEfficient.runtime.beside`) stand as the program's rules say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from QEfficient import arguments
from QEfficient.errors import InputError
from QEfficient.records import LENGTH_DIM, RowRules, Rows, Shape, TensorSpec
from QEfficient.runtime import beside, refusals
from QEfficient.runtime.names import refuse_unknown

Ids = NDArray[np.int64]

# What HuggingFace takes for an input that is left out; a pooling mask is then the attention mask.
_DEFAULTS = {"attention_mask": 1, "token_type_ids": 0, "pooling_mask": 1}
_PADDED = "tokenizer(texts, padding=True, return_tensors='np')"
PLAIN = RowRules()  # of a graph of which nothing else is known


def from_arrays(
    inputs: Mapping[str, object],
    specs: Sequence[TensorSpec],
    *,
    max_length: int | None,
    buckets: Sequence[Shape],
    rules: RowRules = PLAIN,
) -> Rows:
    """Checks a caller's arrays and cuts them into rows.

    A row is everything up to and with its last real token, the last column whose mask is 1; padding on the left and
    holes stay where they are, because positions count them.

    Args:
        inputs: Input name → integers of shape ``(rows, columns)``, of boxes and the like with dims behind these: numpy
            arrays, torch tensors, nested lists, or the mapping that a HuggingFace tokenizer returns. A value of
            ``None`` counts as left out.
        specs: The graph's inputs.
        max_length: The model's own limit in tokens, or ``None``.
        buckets: The compiled buckets; the longest one limits a row. Empty: no limit.
        rules: What a row may look like. Where it can't be padded, it is its real tokens, all at its start.

    Raises:
        InputError: A name, dtype, shape, value or length does not fit; the message names the rows.
    """
    known = tuple(spec.name for spec in specs)
    pads, sizes = rules.pads, {one.name: one.sizes for one in rules.more}
    if pads:
        _check_graph(known)
    given = {name: value for name, value in items_of(inputs) if value is not None}
    _check_names(given, known if pads else tuple(dict.fromkeys((*known, "attention_mask"))), rules)
    arrays = {name: _integers(name, value, sizes.get(name, ())) for name, value in given.items()}
    _drop_zero_types(arrays, known, rules.zero_types)
    shape = _common_shape({name: array for name, array in arrays.items() if name not in sizes})
    if rules.more:
        beside.check_shapes(arrays, rules, shape)
    arrays = {one.name: beside.filled(one, shape) for one in rules.more} | arrays
    names = dict.fromkeys((*known, "attention_mask"))
    columns = {name: arrays[name] if name in arrays else _filled(name, shape) for name in names}
    if "pooling_mask" in columns and "pooling_mask" not in arrays:
        columns["pooling_mask"] = columns["attention_mask"]
    if rules.more:
        beside.check_values(columns, rules)
    _check_values(columns)
    _check_pooled(columns)
    lengths = _lengths(columns["attention_mask"])
    if not pads:
        _check_unbroken(columns["attention_mask"], lengths)
    _check_lengths(lengths, max_length, buckets)
    cut = {name: [row[:length] for row, length in zip(columns[name], lengths, strict=True)] for name in known}
    return Rows(columns=cut, width=shape[1], lengths=tuple(lengths))


def _check_graph(known: Sequence[str]) -> None:
    if "attention_mask" not in known:
        raise InputError(
            "The graph has no attention_mask, so padding would change its results.",
            got=", ".join(known),
            allowed="a graph with the inputs input_ids and attention_mask",
            do="export the model with a forward that takes attention_mask",
        )


def items_of(inputs: Any) -> list[tuple[str, object]]:
    """The names and values of a mapping, or of what a processor returns.

    Raises:
        InputError: It is no mapping.
    """
    if not hasattr(inputs, "keys") or not hasattr(inputs, "__getitem__"):
        raise InputError(
            "The inputs are not a mapping of names to arrays.",
            got=type(inputs).__name__,
            allowed="a dict, or what a tokenizer returns",
            do='pass tokenizer(texts, padding=True, return_tensors="np"), or call encode(texts) for strings',
        )
    return [(str(name), inputs[name]) for name in inputs.keys()]


def _integers(name: str, value: Any, sizes: tuple[int, ...] = ()) -> Ids:
    """The value as int64 of shape (rows, columns), and ``sizes`` behind that."""
    array, dims = as_numpy(name, value), 2 + len(sizes)
    if array.size == 0 and array.ndim in (1, dims) and array.shape[0] == 0:  # an empty list has no integer dtype
        return np.zeros((0, array.shape[1] if array.ndim == dims else 0, *sizes), np.int64)
    if array.dtype.kind not in "iub":
        fix = f"pass token ids: {name}.astype('int64'), or {_PADDED}"
        raise refusals.wrong_dtype(name, "integers", array.dtype, "an integer or bool dtype", fix)
    if array.ndim != dims:
        one = f"add the dim of rows: {name}[None, :], or [ids] for a list"
        fix = one if array.ndim == dims - 1 else f"give it {dims} dims"
        allowed = ", ".join(("rows", "columns", *map(str, sizes)))
        raise InputError(f"{name} is not {dims}-D.", got=f"shape {array.shape}", allowed=f"({allowed})", do=fix)
    return array.astype(np.int64, copy=False)


def as_numpy(
    name: str, value: Any, kind: str = "integers", items: str = "rows", do: str = f"pad the rows: {_PADDED}"
) -> NDArray[np.generic]:
    """Integers, or another kind of numbers, as a numpy array; ``name`` is what an error calls it.

    Raises:
        InputError: Rows of unequal length, or no array at all.
    """
    value = arguments.arrays(name, value, items)
    try:
        return np.asarray(arguments.on_host(value))
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"{name} can't be read as an array of {kind}.",
            got=f"{type(value).__name__}: {error}",
            allowed=f"{items} of equal length, all of them {kind}",
            do=do,
        ) from error


def _check_names(given: Mapping[str, object], known: Sequence[str], rules: RowRules) -> None:
    """Refuses unknown and missing names."""
    if unknown := [name for name in given if name not in known and name != "token_type_ids"]:
        refuse_unknown(unknown, known, rules)
    more = [one.name for one in rules.more]
    optional = [name for name in known if name in _DEFAULTS or name in more]
    if missing := [name for name in known if name not in given and name not in optional]:
        allowed = f"{', '.join(known)} (optional: {', '.join(optional)})"
        raise refusals.missing(missing, given, allowed, "pass what the model's tokenizer returns")


def _drop_zero_types(arrays: dict[str, Ids], known: Sequence[str], zero_types: bool) -> None:
    """Drops token type ids that are zero where the graph has no such input; refuses others."""
    if "token_type_ids" in known or "token_type_ids" not in arrays:
        return
    other = bool(arrays.pop("token_type_ids").any())
    if other or not zero_types:
        raise InputError(
            "token_type_ids are given, but the graph was exported without them: they would be ignored.",
            got="values other than 0" if other else "zeros, which this model does not take for no types",
            allowed=", ".join(known),
            do="run the model with transformers where its types matter; the graph gives what it gives without them",
        )


def _common_shape(arrays: Mapping[str, Ids]) -> tuple[int, int]:
    shapes = {array.shape for array in arrays.values()}
    if len(shapes) > 1:
        raise InputError(
            "The inputs differ in shape.",
            got=", ".join(f"{name} {array.shape}" for name, array in arrays.items()),
            allowed="one shape (rows, columns) for all",
            do="take all inputs from the same call of the tokenizer",
        )
    return cast("tuple[int, int]", shapes.pop())


def _filled(name: str, shape: tuple[int, int]) -> Ids:
    return np.full(shape, _DEFAULTS[name], np.int64)


def _check_values(columns: Mapping[str, Ids]) -> None:
    mask = columns["attention_mask"]
    if (bad := (mask != 0) & (mask != 1)).any():
        raise InputError(
            "attention_mask holds values other than 0 and 1.",
            got=refusals.rows_where(bad),
            allowed="1 for a real token, 0 for padding",
            do="pass a mask of 0 and 1: (mask > 0).astype('int64')",
        )
    for name, array in columns.items():
        if (bad := array < 0).any():
            got = f"{refusals.rows_where(bad)}, least value {np.min(array)}"
            raise refusals.negative(name, got, ", and mask them with 0")
    if (bad := mask.max(axis=1, keepdims=True, initial=0) == 0).any():
        raise InputError(
            "Rows without a real token have no result.",
            got=f"{refusals.rows_where(bad)}: attention_mask is 0 everywhere",
            allowed="at least one 1 in every row of attention_mask",
            do="leave these rows out",
        )


def _check_pooled(columns: Mapping[str, Ids]) -> None:
    if "pooling_mask" not in columns:
        return
    pooled = columns["pooling_mask"]
    none = pooled.max(axis=1, keepdims=True, initial=0) == 0
    if (bad := none | (pooled > columns["attention_mask"])).any():
        raise InputError(
            "pooling_mask says nothing of what to pool, or it names padding.",
            got=refusals.rows_where(bad),
            allowed="1 for each token that is pooled, at least one a row, and 0 where attention_mask is 0",
            do="leave pooling_mask out to pool every real token",
        )


def _check_unbroken(mask: Ids, lengths: Sequence[int]) -> None:
    if (bad := mask.sum(axis=1, keepdims=True) != np.asarray(lengths, np.int64)[:, None]).any():
        raise InputError(
            "This model's numbers depend on the padding beside a row, so only padding at the end can be taken off.",
            got=f"{refusals.rows_where(bad)}: attention_mask has zeros before a row's last 1",
            allowed="rows whose real tokens all stand at the start",
            do='pad on the right: tokenizer(texts, padding=True, padding_side="right")',
        )


def _lengths(mask: Ids) -> list[int]:
    """Per row, the number of columns up to and with the last 1."""
    if not mask.size:
        return []
    return cast("list[int]", (mask.shape[1] - np.argmax(mask[:, ::-1], axis=1)).tolist())


def _check_lengths(lengths: Sequence[int], max_length: int | None, buckets: Sequence[Shape]) -> None:
    longest = max(lengths, default=0)
    if max_length is not None and longest > max_length:
        shorter = f"tokenizer(texts, truncation=True, max_length={max_length}), or call encode(texts)"
        raise _too_long("the model can take", lengths, max_length, f"shorten them: {shorter}")
    limit = max((bucket.sizes.get(LENGTH_DIM, 1) for bucket in buckets), default=longest)
    if longest > limit:
        fix = f"compile with seq_len=[…, {longest}], or shorten the rows to {limit} tokens"
        raise _too_long("the largest compiled bucket", lengths, limit, fix)


def _too_long(what: str, lengths: Sequence[int], limit: int, do: str) -> InputError:
    long = [f"row {row}: {length} tokens" for row, length in enumerate(lengths) if length > limit]
    return refusals.too_long(f"Rows are longer than {what}", long, f"{limit} tokens", do)
