"""Ids as HuggingFace's ``generate`` takes and gives them: a padded array in, a padded array out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from QEfficient.arguments import arrays, on_host
from QEfficient.errors import InputError


@dataclass(frozen=True, slots=True)
class IdRows:
    """Prompts of a call.

    Attributes:
        given: As they came, ``(rows, width)`` int64, padding and all.
        prompts: The real tokens of each row.
        tensors: Whether they came as torch's tensors, and so are given back.
    """

    given: NDArray[np.int64]
    prompts: tuple[tuple[int, ...], ...]
    tensors: bool

    def with_answers(self, answers: Sequence[Sequence[int]], pad_token_id: int) -> NDArray[np.int64]:
        """The rows with their answers behind them, ``(answers, width + longest answer)``.

        Args:
            answers: New ids: as many for each row, one row's after the other's.
            pad_token_id: What stands behind a shorter answer.
        """
        each = len(answers) // max(len(self.given), 1)
        new = padded(answers, pad_token_id)
        return np.concatenate([np.repeat(self.given, each, axis=0), new], axis=1)


def padded(rows: Sequence[Sequence[int]], fill: int, width: int | None = None) -> NDArray[np.int64]:
    """Rows of unequal length as one array, filled up on the right: to the longest, or to ``width``."""
    wide = max(map(len, rows), default=0) if width is None else width
    array = np.full((len(rows), wide), fill, dtype=np.int64)
    for place, row in enumerate(rows):
        array[place, : len(row)] = row
    return array


def read_ids(ids: Any, attention_mask: Any, vocabulary: int | None = None) -> IdRows:
    """Checks ids and their mask.

    Args:
        ids: Integers ``(rows, width)``, or one row ``(width,)``: a tensor, an array, lists. Without a mask the rows of
            a list may be of unequal lengths; what is given back then has them padded on the left.
        attention_mask: 1 or True for real tokens, in the ids' shape; on whichever side the padding is. ``None``: all.
        vocabulary: Ids are below this; ``None``: unknown.

    Raises:
        InputError: A type, shape, value or mask does not fit; the message names the row.
    """
    tensors = hasattr(ids, "detach") or (
        isinstance(ids, (list, tuple)) and len(ids) > 0 and all(hasattr(row, "detach") for row in ids)
    )
    given, ragged = _array("input_ids", ids)
    mask = None if attention_mask is None else _mask(attention_mask, given.shape)
    if ragged is not None:
        if mask is not None and mask.shape != given.shape:
            raise _shape_error("attention_mask", mask.shape, given.shape)
        mask = ragged if mask is None else mask
    if not len(given):
        raise InputError(
            "input_ids has no row.", got=f"shape {given.shape}", allowed="one row or more", do="pass a prompt's ids"
        )
    prompts = tuple(
        tuple(row.tolist() if mask is None else row[mask[place]].tolist()) for place, row in enumerate(given)
    )
    for place, prompt in enumerate(prompts):
        _check_prompt(place, prompt, vocabulary)
    return IdRows(given, prompts, tensors)


def check_prompts(prompts: Sequence[Sequence[int]], vocabulary: int | None) -> None:
    """Refuses prompts without a token, or with ids that there are not.

    Raises:
        InputError: The message names the row.
    """
    for place, prompt in enumerate(prompts):
        _check_prompt(place, prompt, vocabulary)


def _check_prompt(place: int, prompt: Sequence[int], vocabulary: int | None) -> None:
    if not prompt:
        raise InputError(
            f"Row {place} has no token.",
            got="an empty prompt, or a mask of zeros",
            allowed="one token or more",
            do="begin with the model's first token (bos_token_id) where there is nothing to go on from",
        )
    wrong = next((number for number in prompt if number < 0 or (vocabulary is not None and number >= vocabulary)), None)
    if wrong is not None:
        raise InputError(
            f"Row {place} has an id that the model has no row for.",
            got=wrong,
            allowed="0 or more" if vocabulary is None else f"0 to {vocabulary - 1}",
            do="tokenise with the model's own tokenizer, and mark padding in attention_mask",
        )


def _array(name: str, value: Any) -> tuple[NDArray[np.int64], NDArray[np.bool_] | None]:
    """``value`` as ``(rows, width)``; and which are real, where the rows had unequal lengths."""
    value = on_host(arrays(name, value, "rows of ids"))
    try:
        array = np.asarray(value)
    except ValueError:  # rows of unequal lengths
        return _ragged(name, value)
    if array.dtype == object:
        raise _type_error(name, f"{type(value).__name__} of objects")
    if array.ndim == 1:
        array = array[None]
    if array.ndim != 2:
        raise InputError(
            f"{name} has {array.ndim} dims.",
            got=f"shape {array.shape}",
            allowed="(rows, width), or one row",
            do="pass one row a prompt",
        )
    if array.size and (array.dtype.kind not in "iu"):
        raise _type_error(name, str(array.dtype))
    return array.astype(np.int64), None


def _ragged(name: str, value: Any) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    try:
        rows = [np.asarray(row) for row in value]
    except ValueError as error:
        raise _type_error(name, "rows of unequal shapes") from error
    if any(row.ndim != 1 or (row.size and row.dtype.kind not in "iu") for row in rows):
        raise _type_error(name, "rows of unequal shapes")
    wide = max(map(len, rows))
    array, real = np.zeros((len(rows), wide), np.int64), np.zeros((len(rows), wide), np.bool_)
    for place, row in enumerate(rows):
        array[place, wide - len(row) :] = row
        real[place, wide - len(row) :] = True
    return array, real


def _mask(value: Any, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    mask = np.asarray(on_host(arrays("attention_mask", value, "rows of 0 and 1")))
    if mask.ndim == 1:
        mask = mask[None]
    if mask.shape != shape:
        raise _shape_error("attention_mask", mask.shape, shape)
    if mask.dtype.kind not in "biuf" or not np.isin(mask, (0, 1)).all():
        raise InputError(
            "attention_mask holds something else than 0 and 1.",
            got=f"{mask.dtype} with {np.unique(mask)[:5].tolist()}",
            allowed="1 for real tokens, 0 for padding",
            do="pass what the tokenizer gives",
        )
    return mask.astype(np.bool_)


def _shape_error(name: str, got: tuple[int, ...], wanted: tuple[int, ...]) -> InputError:
    return InputError(
        f"{name} has another shape than input_ids.",
        got=f"shape {got}",
        allowed=f"shape {wanted}",
        do="pass both as the tokenizer gives them",
    )


def _type_error(name: str, got: str) -> InputError:
    return InputError(
        f"{name} does not hold whole numbers.",
        got=got,
        allowed="integers (rows, width)",
        do='pass tokenizer(texts, return_tensors="np")["input_ids"], or pass texts as prompts=',
    )
