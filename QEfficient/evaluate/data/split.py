"""Parts of a data set: some of its rows, a split by chance, and one that leaves no text on two sides."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from QEfficient.arguments import is_number, listed, whole
from QEfficient.errors import InputError, UsageError
from QEfficient.evaluate.data.digest import digest_of
from QEfficient.evaluate.record import Examples

_TEXTS = ("text", "pair", "query", "question", "context", "prompt")  # one string a row each


def subset(examples: Examples, rows: Sequence[int] | NDArray[Any]) -> Examples:
    """Some rows, in the order in which they are named, with a digest of their own. A corpus stays whole.

    Args:
        examples: A data set.
        rows: Positions, each at most once; or a boolean a row.

    Raises:
        InputError: There are none, or one is not there or twice.
    """
    places = np.asarray(rows)
    if places.dtype == bool and places.shape == (len(examples),):
        places = np.flatnonzero(places)
    inside = places.dtype.kind in "iu" and places.ndim == 1 and 0 <= places.min(initial=0) <= places.max(initial=0)
    if not (inside and places.size and places.max() < len(examples) and len(np.unique(places)) == len(places)):
        raise InputError(
            "These are no rows of the data set.",
            got=rows,
            allowed=f"positions from 0 to {len(examples) - 1}, each once, at least one",
            do="pass a list of positions, or one boolean a row",
        )
    columns = {role: [values[row] for row in places] for role, values in examples.columns.items()}
    return replace(
        examples,
        columns=columns,
        clusters=None if examples.clusters is None else examples.clusters[places],
        digest=digest_of(columns, examples.corpus, examples.label_names),
        name=f"{len(places)} of {len(examples)} rows of {examples.name}",
    )


def split_by_chance(examples: Examples, shares: Sequence[float], seed: int = 0) -> tuple[Examples, ...]:
    """Parts of rows drawn by chance: a permutation of ``numpy.random.default_rng(seed)``, cut into pieces.

    For texts that stand in one row each. Where they stand in several, a model that learnt from one part has seen texts
    of the others: see :func:`split_by_text`.

    Args:
        examples: A data set.
        shares: How much of the rows each part gets; together 1, such as ``(0.8, 0.1, 0.1)``.
        seed: Of the permutation.

    Returns:
        One data set a share.

    Raises:
        UsageError: The shares are no positive numbers that make 1, or the seed is no whole number from 0 on.
        InputError: A part would have no rows.
    """
    ends = np.cumsum(_checked(shares))
    order = np.random.default_rng(_seed(seed)).permutation(len(examples))
    cuts = np.floor(ends[:-1] * len(examples) + 1e-9).astype(int)  # a sum of shares may be below what it stands for
    return _parts(examples, np.split(order, cuts))


def split_by_text(examples: Examples, shares: Sequence[float], seed: int = 0) -> tuple[Examples, ...]:
    """Parts such that no text stands in two of them, and no cluster either, for figures on texts that are truly new.

    Rows that share a text hang together, and so do those that hang together with the same row. Groups are drawn by
    chance, the large ones first, and each goes to the part that lacks most; so parts have their shares as nearly as the
    groups allow. What counts are ``text``, ``pair``, ``query``, ``question``, ``context`` and ``prompt``, the tokens,
    images and clips, and relevant documents. Others don't: rankings take them from a pool that all of them share.

    Args:
        examples: A data set.
        shares: As for :func:`split_by_chance`.
        seed: Likewise.

    Returns:
        One data set a share, its rows in their order in the whole.

    Raises:
        UsageError: As there.
        InputError: So many rows hang together that a part would have none.
    """
    wanted = _checked(shares) * len(examples)
    members = _by(groups_by_text(examples))
    order = np.random.default_rng(_seed(seed)).permutation(len(members))
    held: list[list[NDArray[np.intp]]] = [[] for _ in wanted]
    for group in sorted(order, key=lambda one: -len(members[one])):
        part = int(np.argmax(wanted))
        held[part].append(members[group])
        wanted[part] -= len(members[group])
    return _parts(examples, [np.sort(np.concatenate(part)) if part else np.empty(0, np.intp) for part in held])


def groups_by_text(examples: Examples) -> NDArray[np.intp]:
    """A number a row, from 0; rows of the same number hang together by texts or clusters that they share."""
    parents = list(range(len(examples)))

    def root(row: int) -> int:
        while parents[row] != row:
            parents[row] = row = parents[parents[row]]
        return row

    first: dict[Hashable, int] = {}
    for row in range(len(examples)):
        for text in _texts(examples, row):
            parents[root(row)] = root(first.setdefault(text, row))
    return np.unique([root(row) for row in range(len(examples))], return_inverse=True)[1].astype(np.intp)


def _texts(examples: Examples, row: int) -> Iterator[Hashable]:
    """What a row shares with others."""
    columns = examples.columns
    yield from (columns[role][row] for role in _TEXTS if role in columns)
    if "tokens" in columns:
        yield tuple(columns["tokens"][row])
    if "grades" in columns:
        pairs = zip(columns["documents"][row], columns["grades"][row], strict=True)
        yield from (document for document, grade in pairs if grade)
    if "relevant" in columns:
        yield from (examples.corpus[place] for place in columns["relevant"][row])
    for role in ("image", "audio"):
        if role in columns:
            yield role, digest_of({role: [columns[role][row]]})
    if examples.clusters is not None:
        yield "cluster", int(examples.clusters[row])


def _by(groups: NDArray[np.intp]) -> list[NDArray[np.intp]]:
    """The rows of each group."""
    order = np.argsort(groups, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(groups[order])) + 1)


def _checked(shares: Sequence[float]) -> NDArray[np.float64]:
    found = listed("shares", shares, "numbers", error=UsageError)
    if len(found) < 2 or not all(is_number(share) and share > 0 for share in found) or abs(sum(found) - 1) > 1e-6:
        raise UsageError(
            "The shares do not make a whole.",
            got=f"shares={shares!r}",
            allowed="two or more numbers above 0 that make 1",
            do="pass, for example, (0.8, 0.1, 0.1)",
        )
    return np.asarray(found, np.float64)


def _seed(seed: int) -> int:
    found = whole(seed)
    if found is None or found < 0:
        raise UsageError(
            "The seed is no whole number from 0 on.", got=f"seed={seed!r}", allowed="0, 1, 2, …", do="pass one of these"
        )
    return found


def _parts(examples: Examples, rows: Sequence[NDArray[np.intp]]) -> tuple[Examples, ...]:
    if not all(part.size for part in rows):
        raise InputError(
            "A part of the split would have no rows.",
            got=f"parts of {', '.join(str(part.size) for part in rows)} rows, of {len(examples)}",
            allowed="at least one row a part",
            do="ask for fewer parts; where most rows share texts, split the texts, and pair them within each part",
        )
    return tuple(subset(examples, part) for part in rows)
