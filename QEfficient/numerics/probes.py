"""Inputs for the check after an export: they move what exporters get wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from QEfficient.architectures import Architecture, find
from QEfficient.records import Json, RowRules, TensorSpec, TokenInput

Array = NDArray[np.generic]

_SHAPES = ((1, None), (1, 1), (3, 11), (2, 40))  # rows and length; None is the longest
VOCABULARY = 256  # ids for a model whose config does not say how many it has


@dataclass(frozen=True, slots=True)
class RowSpace:
    """What a row of a graph may be.

    Attributes:
        config: The model's.
        inputs: The graph's.
        rules: What its rows may look like: where they can't be padded, every mask is 1 everywhere.
        tables: As ``Manifest.tables``.
        ends: Whether what is pooled is the state of an end token (CLIP).
    """

    config: Mapping[str, Json]
    inputs: Sequence[TensorSpec]
    rules: RowRules
    tables: Mapping[str, int]
    ends: bool = False

    @property
    def architecture(self) -> Architecture:
        """The facts about the model's type."""
        return find(str(self.config.get("model_type", "")))

    @property
    def shortest(self) -> int:
        """Least tokens, or samples, of a row."""
        return self.architecture.shortest(self.config)


def probes(space: RowSpace, longest: int) -> list[dict[str, Array]]:
    """Inputs of several shapes: longest, batch 1, length 1, left and right padding.

    The longest comes first, because a model may work otherwise on long rows, and may stay with what it did on a short
    one (BigBird's attention). Second halves of rows have token type 1. Clips are padded at their end only, as every
    feature extractor does it.

    Args:
        space: What a row may be.
        longest: Tokens of the longest row (of a clip, that many times the shortest one).

    Returns:
        One mapping of input name → array a probe.
    """
    rng = np.random.default_rng(0)
    batch, width = _fixed(space.inputs, 0), _fixed(space.inputs, 1)
    result = []
    for rows, length in _SHAPES:
        rows, length = batch or rows, width or min(length or longest, longest) * space.shortest
        mask = _mask(space, rows, length)
        result.append({spec.name: _array(spec, space, mask, rng) for spec in space.inputs})
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


def _mask(space: RowSpace, rows: int, length: int) -> NDArray[np.int64]:
    mask = np.ones((rows, length), np.int64)
    if space.rules.pads and rows > 1 and length > 2:
        mask[1, length // 2 :] = 0
    if space.rules.pads and rows > 2 and length > 2:
        text = any(spec.name == "input_ids" for spec in space.inputs)
        mask[2, slice(length // 3) if text else slice(-(length // 3), None)] = 0
    return mask


def _array(spec: TensorSpec, space: RowSpace, mask: NDArray[np.int64], rng: np.random.Generator) -> Array:
    rows, length = mask.shape
    more = {one.name: one for one in space.rules.more}
    if spec.name in more:
        return draw(more[spec.name], (rows, length), rng, space.tables)
    if spec.name == "attention_mask":
        return mask
    if spec.name == "pooling_mask":  # a prompt of two tokens is left out, where something is left then
        return np.where(mask.sum(axis=1, keepdims=True) > 2, mask * (mask.cumsum(axis=1) > 2), mask)
    if spec.name == "token_type_ids":
        return np.where(np.arange(length) >= length // 2, 1, 0) * mask
    if spec.name == "input_ids":
        return _ids(space, mask, rng)
    sizes = {"batch_size": rows, "seq_len": length}
    values = rng.standard_normal([sizes.get(str(dim), dim) for dim in spec.shape], np.float32)
    return values * mask.astype(np.float32) if spec.shape[1:] == ("seq_len",) else values


def _ids(space: RowSpace, mask: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    text, pad_id = space.config.get("text_config") or space.config, space.architecture.pad_id(space.config) or 0
    vocabulary = int(text.get("vocab_size") or VOCABULARY)
    if all(other.name != "attention_mask" for other in space.inputs):
        return rng.integers(0, vocabulary, mask.shape)  # a model of one width, without a mask
    end_id = text.get("eos_token_id") if space.architecture.outputs or space.ends else None
    ids = rng.choice(np.setdiff1d(np.arange(vocabulary), [pad_id, end_id or pad_id]), mask.shape)
    if end_id is not None:  # every row ends with it
        rows, length = mask.shape
        ids[np.arange(rows), length - 1 - np.argmax(mask[:, ::-1], axis=1)] = end_id
    ids[mask == 0] = pad_id
    return ids
