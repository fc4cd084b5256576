"""Data with labels out of real editorials: sentences are queries and documents, and those of one belong together."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from tests.real_text import rows


@dataclass(frozen=True)
class Editorial:
    """Three of an editorial's sentences, each of at least six words and at most forty."""

    name: str
    query: str
    near: str
    far: str


@cache
def editorials(count: int = 24) -> tuple[Editorial, ...]:
    """Editorials with three such sentences."""
    grouped: dict[str, list[str]] = {}
    for name, _, text in rows("editorials"):
        if 6 <= len(text.split()) <= 40:
            grouped.setdefault(name.split("_")[0], []).append(text)
    return tuple(Editorial(name, *texts[:3]) for name, texts in grouped.items() if len(texts) >= 3)[:count]


def similarity_pairs() -> tuple[list[str], list[str], list[float]]:
    """First sentences, second sentences, and 1.0 where both are of one editorial, else 0.0."""
    found = editorials()
    strangers = found[1:] + found[:1]
    first = [one.query for one in found] * 2
    second = [one.near for one in found] + [other.far for other in strangers]
    return first, second, [1.0] * len(found) + [0.0] * len(found)


def retrieval() -> tuple[dict[str, str], dict[str, str], dict[str, set[str]]]:
    """Queries, documents, and the documents that answer each query."""
    found = editorials()
    queries = {f"q{one.name}": one.query for one in found}
    documents = {f"{one.name}{part}": text for one in found for part, text in (("a", one.near), ("b", one.far))}
    return queries, documents, {f"q{one.name}": {f"{one.name}a", f"{one.name}b"} for one in found}


def reranking(candidates: int = 6) -> list[dict[str, object]]:
    """``{"query", "positive", "negative"}`` as sentence-transformers' evaluators take them."""
    found = editorials()
    return [
        {
            "query": one.query,
            "positive": [one.near, one.far],
            "negative": [other.near for other in (found[i + 1 :] + found[:i])[:candidates]],
        }
        for i, one in enumerate(found)
    ]
