"""The figures of a run: each is a function of the run's JSON."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.side_by_side.ratios import Rounds, by_round

Found = Mapping[str, Any]


def one_of(found: Found, name: str) -> Found | None:
    """A contender by its name, if it was measured."""
    return next((one for one in found["contenders"] if one["name"] == name), None)


def exact(one: Found, case: str) -> bool:
    """Whether it computes in float32, and its tokens are transformers' in every round."""
    return one["bits"] == 32 and one["steady"][case] and all(place is None for place in one["parts"][case])


def kind(one: Found) -> str:
    """``exact``, or the bits of its weights; float32 whose tokens differ somewhere is only that."""
    return f"{one['bits']} bits" if not all(exact(one, case) for case in one["seconds"]) else "exact"


def rates(found: Found, one: Found, case: str) -> list[float]:
    """New tokens of all rows a second, of each round."""
    tokens = found["cases"][case]["rows"] * found["cases"][case]["new"]
    return [tokens / seconds for seconds in one["seconds"][case]]


def rates_after_first(found: Found, one: Found, case: str) -> list[float]:
    """The same from when each row had its first token: prompts are read by then."""
    tokens = found["cases"][case]["rows"] * (found["cases"][case]["new"] - 1)
    pairs = zip(one["seconds"][case], one["first"][case], strict=True)
    return [tokens / (seconds - first) for seconds, first in pairs]


def beside(one: Found, case: str, what: str = "seconds") -> Rounds:
    """How many times as fast it is as transformers in float32 was in the same rounds."""
    return by_round(one[what][case], one["reference"][what][case])


def bandwidth(found: Found) -> dict[str, dict[str, float]]:
    """Probe → threads → bytes a second, the best of all rounds."""
    probes: dict[str, dict[str, float]] = {}
    for read in found["bandwidth"]:
        for threads, rates_of in read.items():
            for probe, rate in rates_of.items():
                place = probes.setdefault(probe, {})
                place[threads] = max(place.get(threads, 0.0), rate)
    return probes


def bound(found: Found, one: Found) -> float:
    """Tokens a second of one row at most: the best rate at which memory is read, over the bytes that a token reads."""
    reads = [max(rates_of.values()) for probe, rates_of in bandwidth(found).items() if "write" not in probe]
    return max(reads) / float(one["read"])


def tokens_in_words(one: Found, case: str) -> str:
    """How its tokens are beside transformers' in float32."""
    places: Sequence[int | None] = one["parts"][case]
    apart = [place for place in places if place is not None]
    words = "equal"
    if apart:
        words = f"from {min(apart)}" if len(places) == 1 else f"{len(places) - len(apart)} of {len(places)}"
    return words if one["steady"][case] else f"{words}, changing"


@dataclass(frozen=True, slots=True)
class Comparison:
    """The best of ours of one kind, beside a peer.

    Attributes:
        bits: Of the weights; with 32 the tokens must be transformers'.
        case: Of the cases.
        what: ``seconds`` of all, or ``first``, until each row has its first token.
        peer: A name; ``None``: the best that is of the kind.
    """

    bits: int
    case: str
    what: str
    peer: str | None


COMPARISONS = (
    Comparison(32, "A", "seconds", "ort-genai fp32"),
    Comparison(32, "A", "seconds", None),
    Comparison(32, "B", "first", "ort-genai fp32"),
    Comparison(32, "B", "first", None),
    Comparison(32, "B", "seconds", "ort-genai fp32"),
    Comparison(32, "B", "seconds", None),
    Comparison(32, "C", "seconds", "ort-genai fp32"),
    Comparison(32, "C", "seconds", None),
    Comparison(16, "A", "seconds", None),
    Comparison(16, "B", "first", None),
    Comparison(16, "C", "seconds", None),
    Comparison(8, "A", "seconds", None),
    Comparison(8, "B", "first", None),
    Comparison(8, "C", "seconds", None),
    Comparison(4, "A", "seconds", "ort-genai int4"),
    Comparison(4, "A", "seconds", None),
    Comparison(4, "B", "first", None),
    Comparison(4, "C", "seconds", "ort-genai int4"),
    Comparison(4, "C", "seconds", None),
)
"""What the page shows of ours beside peers; those whose case or contenders were not measured drop out."""


def best(found: Found, fits: Callable[[Found], bool], case: str, what: str) -> Found | None:
    """Whose median is the least of those that fit."""
    fitting = [one for one in found["contenders"] if fits(one)]
    return min(fitting, key=lambda one: statistics.median(one[what][case]), default=None)


def compared(found: Found, wanted: Comparison) -> tuple[Found, Found, Rounds] | None:
    """Ours, the peer, and how many times as fast ours is; ``None`` if one of them is missing."""
    if wanted.case not in found["cases"]:
        return None

    def of_kind(one: Found) -> bool:
        return exact(one, wanted.case) if wanted.bits == 32 else one["bits"] == wanted.bits

    ours = best(found, lambda one: one["ours"] and of_kind(one), wanted.case, wanted.what)
    if wanted.peer is None:
        peer = best(found, lambda one: not one["ours"] and of_kind(one), wanted.case, wanted.what)
    else:
        peer = one_of(found, wanted.peer)
    if ours is None or peer is None:
        return None
    return ours, peer, by_round(ours[wanted.what][wanted.case], peer[wanted.what][wanted.case])


def ordered(found: Found) -> list[Found]:
    """Exact ones, then by bits, the most first; in each by speed on the first case."""
    first = next(iter(found["cases"]))

    def place(one: Found) -> tuple[bool, int, float]:
        return kind(one) != "exact", -int(one["bits"]), statistics.median(one["seconds"][first])

    return sorted(found["contenders"], key=place)
