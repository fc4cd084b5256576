"""Images, clips and spectrograms that a caller hands to ``generate`` → :class:`~QEfficient.records.Rows`.

Beside :mod:`QEfficient.runtime.rows`, which does it for token ids. What the model's own processor returns is taken as
it is; clips may also be a list of arrays of unequal length. Nothing is resized, cropped or padded here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from QEfficient import arguments
from QEfficient.architectures.record import shortest_clip
from QEfficient.errors import InputError
from QEfficient.records import RowRules, Rows, Shape, TensorSpec
from QEfficient.runtime import refusals
from QEfficient.runtime import rows as texts
from QEfficient.runtime.names import refuse_unknown
from QEfficient.runtime.run import frame_count

Floats = NDArray[np.float32]

MASK = "attention_mask"
OWNERS = {"text_embeds": "input_ids", "image_embeds": "pixel_values"}
"""Output of a model with two sides → the input whose rows it belongs to."""

_PROCESSED = "with the model's own processor: AutoProcessor.from_pretrained(…)"


def has_signals(specs: Sequence[TensorSpec]) -> bool:
    """Whether a graph takes more than rows of token ids: floats, or ids of one fixed width."""
    return any(spec.dtype.startswith("float") or "seq_len" not in spec.shape for spec in specs)


def from_signals(
    inputs: Mapping[str, object],
    specs: Sequence[TensorSpec],
    *,
    max_length: int | None = None,
    buckets: Sequence[Shape] = (),
    rules: RowRules = texts.PLAIN,
) -> Rows:
    """Checks a caller's arrays and cuts them into rows.

    Args:
        inputs: Input name → floats: ``(rows, …)`` of the size that the graph has, or for clips ``(rows, samples)`` or
            ``(rows, frames, width)``, or a list with an array a clip; numpy arrays, torch tensors, nested lists, or the
            mapping that a processor returns.
            ``attention_mask`` says where a padded clip ends. With texts beside images, both may have any number of
            rows.
        specs: The graph's inputs.
        max_length: The model's own limit of a text in tokens, or ``None``.
        buckets: The compiled buckets; the longest one limits a clip or a text. Empty: no limit.
        rules: What a row may look like; a clip must be long enough for one frame.

    Raises:
        InputError: A name, dtype, shape, value or length does not fit; the message names the rows.
    """
    given = {name: value for name, value in texts.items_of(inputs) if value is not None}
    _check_names(given, specs, rules)
    parts = [_fixed(spec, given[spec.name]) for spec in specs if "seq_len" not in spec.shape]
    free = [spec for spec in specs if "seq_len" in spec.shape]
    if any(spec.name == "input_ids" for spec in free):
        ids = {name: value for name, value in given.items() if name in {spec.name for spec in free}}
        parts.append(texts.from_arrays(ids, free, max_length=max_length, buckets=buckets, rules=rules))
    elif free:
        parts.append(_clips(free, given, buckets, rules.frames))
    elif MASK in given:
        _check_unmasked(given[MASK])
    return _beside(parts)


def _check_names(given: Mapping[str, object], specs: Sequence[TensorSpec], rules: RowRules) -> None:
    needed = [spec.name for spec in specs if spec.name != MASK]
    known = needed if needed == ["pixel_values"] else [*needed, MASK]
    refuse_unknown(given, known, rules)
    if missing := [name for name in needed if name not in given]:
        both = ". A model of texts and images takes both; for one side load it as a model of its own" * (
            "input_ids" in needed and "pixel_values" in needed
        )
        raise refusals.missing(missing, given, ", ".join(known), f"pass what the model's own processor returns{both}")


# ---------------------------------------------------------------------------------------------- inputs of one size


def _fixed(spec: TensorSpec, value: object) -> Rows:
    """Rows of an input whose size is the same for all."""
    array = _integers(spec, value) if spec.dtype == "int64" else _floats(spec.name, value)
    size = spec.shape[1:]
    if array.size == 0 and array.shape[:1] == (0,):
        array = np.zeros((0, *(int(dim) for dim in size)), array.dtype)
    if array.shape[1:] != size:
        raise InputError(
            f"{spec.name} does not have the size that the model was compiled for.",
            got=f"shape {array.shape}",
            allowed=f"(rows, {', '.join(map(str, size))})",
            do=_size_advice(spec, array.shape),
        )
    _check_finite(spec.name, array)
    return Rows(columns={spec.name: list(array)}, width=1, lengths=(1,) * len(array))


def _size_advice(spec: TensorSpec, shape: tuple[int, ...]) -> str:
    size = spec.shape[1:]
    if shape == size:
        return f"add the dim of rows: {spec.name}[None]"
    if spec.name == "pixel_values" and len(shape) == 4 and (shape[3], *shape[1:3]) == size:
        return "put the channels first: pixel_values.transpose(0, 3, 1, 2)"
    if spec.name == "input_ids":
        return f'fill every row up: tokenizer(texts, padding="max_length", max_length={size[0]}, truncation=True)'
    return f"make {spec.name} {_PROCESSED}"


def _integers(spec: TensorSpec, value: object) -> NDArray[np.int64]:
    array: NDArray[Any] = texts.as_numpy(spec.name, value)
    if array.dtype.kind not in "iu" and array.size:
        fix = f"pass token ids: {spec.name}.astype('int64')"
        raise refusals.wrong_dtype(spec.name, "integers", array.dtype, "an integer dtype", fix)
    if array.size and np.min(array) < 0:
        raise refusals.negative(spec.name, f"least value {np.min(array)}")
    return array.astype(np.int64, copy=False)


def _check_unmasked(value: object) -> None:
    """A mask of ones says nothing new; another one would be ignored."""
    if not texts.as_numpy(MASK, value).all():
        raise InputError(
            "attention_mask has zeros, but the graph was exported without it: they would be ignored.",
            got=f"{MASK} with zeros",
            allowed="no mask, or ones: the graph attends to all of its input",
            do="run the model with transformers where the mask matters; the graph gives what it gives without one",
        )


# ---------------------------------------------------------------------------------------------- clips


def _clips(
    specs: Sequence[TensorSpec],
    given: Mapping[str, object],
    buckets: Sequence[Shape],
    frames: Sequence[tuple[int, ...]],
) -> Rows:
    """Rows of unequal length, each cut behind its last real sample."""
    spec = next(spec for spec in specs if spec.name != MASK)
    clips = _each(spec, given[spec.name])
    width = max(map(len, clips), default=0)
    lengths = _lengths(given[MASK], clips) if MASK in given else [len(clip) for clip in clips]
    _check_lengths(spec, lengths, buckets, frames)
    columns: dict[str, list[NDArray[Any]]] = {
        spec.name: [clip[:length] for clip, length in zip(clips, lengths, strict=True)]
    }
    if any(spec.name == MASK for spec in specs):
        columns[MASK] = [np.ones(length, np.int64) for length in lengths]
    return Rows(columns=columns, width=width, lengths=tuple(lengths))


def _each(spec: TensorSpec, value: object) -> list[Floats]:
    """One array a clip. A list may hold clips of unequal length."""
    dims = len(spec.shape)
    value = arguments.arrays(spec.name, value, "clips")
    if isinstance(value, (list, tuple)) and value and all(hasattr(clip, "__len__") for clip in value):
        clips = [_floats(spec.name, clip) for clip in value]
    else:
        array = _floats(spec.name, value)
        if array.size and array.ndim != dims:
            raise _not_a_clip(spec, array.shape, one=array.ndim == dims - 1)
        clips = list(array) if array.ndim == dims else []
    for clip in clips:
        if clip.ndim != dims - 1 or clip.shape[1:] != spec.shape[2:]:
            raise _not_a_clip(spec, (len(clips), *clip.shape))
    if bad := [row for row, clip in enumerate(clips) if not np.isfinite(clip).all()]:
        raise _not_finite(spec.name, bad)
    return clips


def _unit(spec: TensorSpec) -> str:
    """What a clip's length is counted in: samples, or frames of several numbers each."""
    return "samples" if len(spec.shape) == 2 else "frames"


def _not_a_clip(spec: TensorSpec, shape: tuple[int, ...], *, one: bool = False) -> InputError:
    wanted = ", ".join(("rows", _unit(spec), *map(str, spec.shape[2:])))
    other = "mix a clip's channels down to one; see the processor"
    if len(spec.shape) > 2:
        other = f"make {spec.name} {_PROCESSED}"
    return InputError(
        f"{spec.name} does not hold one clip a row.",
        got=f"shape {shape}",
        allowed=f"({wanted}), or a list of clips of unequal length",
        do=f"add the dim of rows: {spec.name}[None]" if one else other,
    )


def _lengths(mask: object, clips: Sequence[Floats]) -> list[int]:
    """Real samples, or frames, of each clip; all of them stand at its start."""
    masks = _masks(mask)
    if [len(row) for row in masks] != [len(clip) for clip in clips]:
        raise InputError(
            "attention_mask and the clips differ in shape.",
            got=f"{len(masks)} rows of {sorted({len(row) for row in masks})}",
            allowed=f"{len(clips)} rows of {sorted({len(clip) for clip in clips})}",
            do="take both from the same call of the feature extractor",
        )
    lengths = [int(row.sum()) for row in masks]
    bad = [row for row, real in enumerate(masks) if not real[: lengths[row]].all()]
    if bad:
        raise InputError(
            "attention_mask is not ones followed by zeros: a clip can be padded at its end only.",
            got=refusals.listed(_named(bad)),
            allowed="1 for what is of the clip, then 0 for padding",
            do='set padding_side="right" in the feature extractor',
        )
    return lengths


def _masks(mask: object) -> list[NDArray[np.bool_]]:
    mask = arguments.arrays(MASK, mask, "rows")
    many = isinstance(mask, (list, tuple))
    arrays = [texts.as_numpy(MASK, row) for row in (cast("Sequence[object]", mask) if many else [mask])]
    if not many:
        arrays = list(arrays[0])
    if any(array.ndim != 1 or array.dtype.kind not in "iub" or not np.isin(array, (0, 1)).all() for array in arrays):
        raise InputError(
            "attention_mask does not hold one row of 0 and 1 a clip.",
            got=", ".join(f"{array.dtype} of shape {array.shape}" for array in arrays[: refusals.SHOWN]),
            allowed="integers or bools of the clips' shape",
            do="pass what the feature extractor returns, or leave attention_mask out",
        )
    return [array.astype(np.bool_) for array in arrays]


def _check_lengths(
    spec: TensorSpec, lengths: Sequence[int], buckets: Sequence[Shape], frames: Sequence[tuple[int, ...]]
) -> None:
    unit = _unit(spec)
    if bad := [row for row, length in enumerate(lengths) if frame_count(length, frames) < 1]:
        raise InputError(
            f"{spec.name} holds clips that are too short for a single frame.",
            got=refusals.listed(_named(bad, lengths, unit)),
            allowed=f"at least {shortest_clip(frames)} {unit}",
            do="leave these rows out",
        )
    limit = max((bucket.length for bucket in buckets), default=max(lengths, default=0))
    if bad := [row for row, length in enumerate(lengths) if length > limit]:
        what = f"{spec.name} holds clips that are longer than the largest compiled bucket"
        fix = f"compile with seq_len=[…, {max(lengths)}], or cut the clips into pieces of {limit} {unit}"
        raise refusals.too_long(what, _named(bad, lengths, unit), f"{limit} {unit}", fix)


# ---------------------------------------------------------------------------------------------- common


def _floats(name: str, value: object) -> Floats:
    """The value as float32."""
    array = texts.as_numpy(name, value, "floats", "arrays", f"make it {_PROCESSED}")
    if array.dtype.kind != "f" and array.size:
        allowed = "float32, float16 or float64: scaled and normalised values, not the file's own integers"
        raise refusals.wrong_dtype(name, "floats", array.dtype, allowed, f"make it {_PROCESSED}")
    with np.errstate(over="ignore"):  # what float32 can't hold is infinite then, and refused with its row
        return array.astype(np.float32, copy=False)


def _check_finite(name: str, array: NDArray[Any]) -> None:
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise _not_finite(name, [row for row, one in enumerate(array) if not np.isfinite(one).all()])


def _not_finite(name: str, bad: Sequence[int]) -> InputError:
    return InputError(
        f"{name} holds NaN or infinite numbers.",
        got=refusals.listed(_named(bad)),
        allowed="finite numbers that float32 can hold",
        do="look at how these rows were read and normalised",
    )


def _named(bad: Sequence[int], lengths: Sequence[int] | None = None, unit: str = "") -> list[str]:
    return [f"row {row}" if lengths is None else f"row {row}: {lengths[row]} {unit}" for row in bad]


def _beside(parts: Sequence[Rows]) -> Rows:
    """Several inputs as one. Where they have different numbers of rows, each gets copies of its first row."""
    if len(parts) == 1:
        return parts[0]
    counts = [len(part) for part in parts]
    most = max(counts)
    if most and not min(counts):
        raise InputError(
            "A model of texts and images needs at least one row of each.",
            got=", ".join(f"{name}: {len(column)} rows" for part in parts for name, column in part.columns.items()),
            allowed="one or more texts, and one or more images",
            do="for one side only, load it as a model of its own (CLIPTextModel, CLIPVisionModel)",
        )
    columns = {
        name: [*column, *[column[0]] * (most - len(column))] for part in parts for name, column in part.columns.items()
    }
    ragged = next((part for part in parts if part.width > 1), parts[0])
    lengths = (*ragged.lengths, *ragged.lengths[:1] * (most - len(ragged)))
    kept = {output: len(part) for part in parts for output, name in OWNERS.items() if name in part.columns}
    return Rows(columns=columns, width=ragged.width, lengths=lengths, kept=kept)
