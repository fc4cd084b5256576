"""How often the tokens of a contender are transformers' in float32, over answers to real prompts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

END = 2  # behind it an answer is over
Write = Callable[[list[list[int]], int], list[list[int]]]


def first_difference(wanted: Sequence[int], got: Sequence[int]) -> int | None:
    """The first place at which two sequences of tokens differ; ``None``: they are equal."""
    places = (place for place, pair in enumerate(zip(wanted, got, strict=False)) if pair[0] != pair[1])
    return next(places, None if len(wanted) == len(got) else min(len(wanted), len(got)))


def until_the_end(ids: Sequence[int]) -> list[int]:
    """An answer with its end token, without what was written behind that."""
    found = list(ids)
    return found[: found.index(END) + 1] if END in found else found


def answers(write: Write, prompts: Sequence[Sequence[int]], new: int, together: int) -> list[list[int]]:
    """What a contender answers.

    Args:
        write: Prompts and a number of new tokens → new tokens of each, the end of a text not heeded.
        prompts: Ids.
        new: Tokens of an answer, at most.
        together: Prompts that are handed in at once; those of like length, so that little is padded.
    """
    order = sorted(range(len(prompts)), key=lambda place: len(prompts[place]))
    found: list[list[int]] = [[] for _ in prompts]
    for start in range(0, len(order), together):
        places = order[start : start + together]
        written = write([list(prompts[place]) for place in places], new)
        for place, ids in zip(places, written, strict=True):
            found[place] = until_the_end(ids)
    return found


def agreement(wanted: Sequence[Sequence[int]], got: Sequence[Sequence[int]]) -> dict[str, Any]:
    """Shares over all answers.

    Returns:
        ``equal``: answers that are equal to the last token. ``prefix``: the mean share of an answer's tokens before the
        first that differs. ``first``: the mean place of that token, where there is one; ``None`` where none differs.
    """
    places = [first_difference(one, other) for one, other in zip(wanted, got, strict=True)]
    apart = [place for place in places if place is not None]
    shares = [1.0 if place is None else place / len(one) for one, place in zip(wanted, places, strict=True)]
    return {
        "equal": places.count(None) / len(places),
        "prefix": sum(shares) / len(shares),
        "first": sum(apart) / len(apart) if apart else None,
    }
