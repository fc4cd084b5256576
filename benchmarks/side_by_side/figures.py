"""The figures of a run: each is a function of the run's JSON."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.side_by_side.ratios import CLASSES, Ratio, class_of, paired

ONE = "one"

Found = Mapping[str, Any]


def least_cosine(one: Found) -> float:
    """Over all corpora."""
    return min(float(value) for value in one["cosine"].values())


def kind(one: Found) -> str | None:
    """The class of a contender, by its vectors."""
    return class_of(least_cosine(one))


def rounds(one: Found, corpus: str) -> list[float]:
    """Seconds of each round; for texts one at a time each round's median."""
    return [statistics.median(taken) if corpus == ONE else taken for taken in one["seconds"][corpus]]


def milliseconds(one: Found, share: int) -> float:
    """A percentile over every single text of every round."""
    return float(np.percentile(np.concatenate(one["seconds"][ONE]), share)) * 1e3


def texts_per_second(found: Found, one: Found, corpus: str) -> float:
    """By the median round."""
    return float(found["corpora"][corpus]["texts"] / statistics.median(rounds(one, corpus)))


def share_of_limit(found: Found, one: Found, corpus: str) -> float | None:
    """Of the best matrix-multiply rate in float32 of the same round, in the median; only for who computes so."""
    if not found["multiply"] or kind(one) != "exact":
        return None
    best = [max(rates) for rates in zip(*found["multiply"].values(), strict=True)]
    flops = found["corpora"][corpus]["flops"]
    return statistics.median(flops / rate / seconds for rate, seconds in zip(best, rounds(one, corpus), strict=True))


def comparisons(found: Found) -> list[tuple[Found, list[tuple[Found, dict[str, Ratio]]]]]:
    """Each of ours, with the peers of its class or a more exact one, and the paired ratio on each corpus."""
    order = [name for name, _ in CLASSES]
    sides = []
    for ours in found["contenders"]:
        own = kind(ours)
        if not ours["ours"] or own is None:
            continue
        peers = [
            (peer, {name: paired(rounds(ours, name), rounds(peer, name)) for name in found["corpora"]})
            for peer in found["contenders"]
            if not peer["ours"] and (other := kind(peer)) and order.index(other) <= order.index(own)
        ]
        sides.append((ours, peers))
    return sides


def ordered(found: Found) -> list[Found]:
    """By class, the most exact first, then by speed on the first corpus."""
    names = [name for name, _ in CLASSES]
    first = next(iter(found["corpora"]))

    def place(one: Found) -> tuple[int, float]:
        own = kind(one)
        return names.index(own) if own else len(names), statistics.median(rounds(one, first))

    return sorted(found["contenders"], key=place)
