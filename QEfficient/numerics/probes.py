"""Inputs for the check after an export: they move what exporters get wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from QEfficient.records import RowRules, TensorSpec, TokenInput

Array = NDArray[np.generic]

_SHAPES = ((1, None), (1, 1), (3, 11), (2, 40))  # rows and length; None is the longest


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the inputs of a model's check look like.

    Attributes:
        inputs: The graph's inputs.
        longest: Tokens of the longest row (of a clip, that many times the shortest one).
        vocabulary: Ids are drawn below it.
        pad_id: Fills the masked columns.
        shortest: Least tokens, or samples, of a row.
        rules: What rows may look like: where they can't be padded, every mask is 1 everywhere.
        end_id: Ends every row, for a model that pools the state of its end token (CLIP).
        tables: As ``Manifest.tables``.
    """

    inputs: Sequence[TensorSpec]
    longest: int
    vocabulary: int = 256
    pad_id: int = 0
    shortest: int = 1
    rules: RowRules = field(default_factory=RowRules)
    end_id: int | None = None
    tables: Mapping[str, int] = field(default_factory=dict)


def probes(wanted: Wanted, seed: int = 0) -> list[dict[str, Array]]:
    """Inputs of several shapes: longest, batch 1, length 1, left and right padding.

    The longest comes first, because a model may work otherwise on long rows, and may stay with what it did on a short
    one (BigBird's attention). Second halves of rows have token type 1. Clips are padded at their end only, as every
    feature extractor does it.

    Returns:
        One mapping of input name → array a probe.
    """
    rng = np.random.default_rng(seed)
    batch, width = _fixed(wanted.inputs, 0), _fixed(wanted.inputs, 1)
    result = []
    for rows, length in _SHAPES:
        rows, length = batch or rows, width or min(length or wanted.longest, wanted.longest) * wanted.shortest
        mask = _mask(wanted, rows, length)
        result.append({spec.name: _array(spec, wanted, mask, rng) for spec in wanted.inputs})
    return result


def draw(
    one: TokenInput, shape: Sequence[int], rng: np.random.Generator, tables: Mapping[str, int]
) -> NDArray[np.int64]:
    """Random numbers of an input beside ids, mask and types, each in its table, for rows and tokens of that shape.

    Every other token has small ones, so that some are equal, as in the cells of a table.

    Args:
        one: The input.
        shape: Rows and tokens.
        rng: Where they come from.
        tables: As ``Manifest.tables``.
    """
    below = np.broadcast_to(np.array(one.below or (tables.get(one.name, 1),)), (*shape, *one.sizes))
    few = (np.arange(shape[-1]) % 2 == 1).reshape(-1, *(1 for _ in one.sizes))
    values = rng.integers(0, np.where(few, np.minimum(below, 2), below))
    if one.ordered:
        low, high = np.minimum(values[..., :2], values[..., 2:]), np.maximum(values[..., :2], values[..., 2:])
        values = np.concatenate([low, high], axis=-1)
    return values


def _fixed(inputs: Sequence[TensorSpec], axis: int) -> int | None:
    """The size that a graph of fixed shape has along an axis of its rows of tokens."""
    sizes = [spec.shape[axis] for spec in inputs if len(spec.shape) == 2]
    return next((size for size in sizes if isinstance(size, int)), None)


def _mask(wanted: Wanted, rows: int, length: int) -> NDArray[np.int64]:
    mask = np.ones((rows, length), np.int64)
    if wanted.rules.pads and rows > 1 and length > 2:
        mask[1, length // 2 :] = 0
    if wanted.rules.pads and rows > 2 and length > 2:
        text = any(spec.name == "input_ids" for spec in wanted.inputs)
        mask[2, slice(length // 3) if text else slice(-(length // 3), None)] = 0
    return mask


def _array(spec: TensorSpec, wanted: Wanted, mask: NDArray[np.int64], rng: np.random.Generator) -> Array:
    rows, length = mask.shape
    more = {one.name: one for one in wanted.rules.more}
    if spec.name in more:
        return draw(more[spec.name], (rows, length), rng, wanted.tables)
    if spec.name == "attention_mask":
        return mask
    if spec.name == "pooling_mask":  # a prompt of two tokens is left out, where something is left then
        return np.where(mask.sum(axis=1, keepdims=True) > 2, mask * (mask.cumsum(axis=1) > 2), mask)
    if spec.name == "token_type_ids":
        return np.where(np.arange(length) >= length // 2, 1, 0) * mask
    if spec.name == "input_ids" and all(other.name != "attention_mask" for other in wanted.inputs):
        return rng.integers(0, wanted.vocabulary, (rows, length))  # a model of one width, without a mask
    if spec.name == "input_ids":
        words = np.setdiff1d(np.arange(wanted.vocabulary), [wanted.pad_id, wanted.end_id or wanted.pad_id])
        ids = rng.choice(words, (rows, length))
        if wanted.end_id is not None:
            ids[np.arange(rows), length - 1 - np.argmax(mask[:, ::-1], axis=1)] = wanted.end_id
        ids[mask == 0] = wanted.pad_id
        return ids
    sizes = {"batch_size": rows, "seq_len": length}
    values = rng.standard_normal([sizes.get(str(dim), dim) for dim in spec.shape], np.float32)
    return values * mask.astype(np.float32) if spec.shape[1:] == ("seq_len",) else values
