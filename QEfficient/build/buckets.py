"""From ``seq_len``, ``batch_size`` and ``buckets`` to buckets."""

from __future__ import annotations

from collections.abc import Iterable

from QEfficient import arguments
from QEfficient.architectures import Reach
from QEfficient.errors import InputError, OptionError
from QEfficient.records import Shape, TextFacts

AUTO = "auto"
BUCKETS = 5


def named_lengths(seq_len: object) -> list[int]:
    """The lengths that a caller names, ascending, each once.

    Raises:
        OptionError: Not positive ints, or none at all.
    """
    result = sorted(set(arguments.positives("seq_len", seq_len, "tokens")))
    if not result:
        raise OptionError(
            "seq_len is an empty list: no bucket would be left to run in.",
            got="seq_len=[]",
            allowed="an int, a list of ints, or leave it out for buckets up to the model's limit",
            do="leave seq_len out, or name at least one length",
        )
    return result


def lengths(seq_len: object, reach: Reach, text: TextFacts) -> list[int]:
    """The bucket lengths that ``seq_len`` asks for, ascending, each once.

    Args:
        seq_len: An int, a list of ints, or ``None``: lengths that double, up to what text and model take.
        reach: Which lengths the model takes.
        text: The model's text side.

    Raises:
        OptionError: Not positive ints, none at all, or outside of what the model takes.
    """
    if seq_len is None:
        last, found = min(text.max_length, reach.limit or reach.last), [reach.first]
        while found[-1] < last:
            found.append(found[-1] * 2)
        return [*(length for length in found if length < last), last]
    result = named_lengths(seq_len)
    if reach.limit is not None and result[-1] > reach.limit:
        raise OptionError(
            "seq_len is past the longest row that this model's graph serves.",
            got=f"seq_len={result[-1]}",
            allowed=f"{reach.shortest} to {reach.limit}",
            do=f"use seq_len={reach.limit} at most, or leave it out",
        )
    if result[0] < reach.shortest:
        raise OptionError(
            "seq_len is shorter than the model takes.",
            got=f"seq_len={result[0]}",
            allowed=f"{reach.shortest} or more",
            do="use a longer bucket, or leave seq_len out",
        )
    return result


def buckets_of(seq_len: object, batch: int, reach: Reach, text: TextFacts) -> tuple[Shape, ...]:
    """The buckets that ``seq_len`` asks for, each of ``batch`` rows."""
    if reach.free:
        return tuple(Shape(length=size, batch=batch) for size in lengths(seq_len, reach, text))
    if seq_len is not None:
        raise one_size(seq_len)
    return (Shape(batch=batch),)


def one_size(seq_len: object) -> OptionError:
    """The error for lengths where a model takes none."""
    return OptionError(
        "The model's inputs have one size, so there is no length to choose.",
        got=f"seq_len={list(seq_len) if isinstance(seq_len, tuple) else seq_len!r}",
        allowed="leave seq_len out",
        do="drop seq_len; batch_size bounds a batch where shapes are fixed",
    )


def sequence_limit(value: object, limit: int | None) -> int:
    """A checked ``max_seq_length``."""
    wanted = arguments.positive("max_seq_length", value, "tokens")
    if limit is not None and wanted > limit:
        raise InputError(
            "max_seq_length is past what the model can take.",
            got=f"max_seq_length={wanted}",
            allowed=f"1 to {limit}",
            do=f"set it to {limit} at most",
        )
    return wanted


def of_each_length(seq_len: object, rows: object) -> tuple[Shape, ...]:
    """The buckets of a ``batch_size`` with a number for each length; none where it has one for all."""
    if arguments.whole(rows) is not None or isinstance(rows, str) or not isinstance(rows, Iterable):
        return ()
    many = arguments.positives("batch_size", rows, "rows")
    named = [] if seq_len is None else arguments.positives("seq_len", seq_len, "tokens")
    if not len(many) == len(named) == len(set(named)) > 0:
        raise OptionError(
            "batch_size has several numbers, but not one for each length.",
            got=f"{len(many)} numbers of rows for {len(set(named))} lengths",
            allowed="one number, or as many as seq_len names lengths, each of them once",
            do="pass one number, or name a length for each",
        )
    return tuple(sorted(map(Shape, named, many)))


def most_buckets(seq_len: object, texts: tuple[str, ...], buckets: object) -> int | None:
    """How many buckets ``compile`` is to find itself; ``None``: it is not to find them."""
    wanted = isinstance(seq_len, str) and seq_len == AUTO
    if wanted and not texts:
        raise OptionError(
            'seq_len="auto" finds buckets for texts, and there are none.',
            got="no texts",
            allowed="texts like those that will come: some hundreds show their lengths well",
            do="pass texts=[…], or name the lengths",
        )
    if buckets is not None and not wanted:
        raise OptionError(
            "A number of buckets is given, but not that they are to be found.",
            got=f"buckets={buckets!r}, seq_len={seq_len!r}",
            allowed='buckets with seq_len="auto"',
            do='pass seq_len="auto" and texts=[…], or drop buckets',
        )
    if not wanted:
        return None
    return BUCKETS if buckets is None else arguments.positive("buckets", buckets, "buckets")
