"""Containers that people keep their texts in, and what else they hand in by mistake."""

from __future__ import annotations

from collections import Counter, OrderedDict, UserDict, UserList, deque
from collections.abc import Callable, Sequence
from typing import Any

import datasets
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa


class Positions:
    """The least of a sequence: a length, and items by position."""

    def __init__(self, items: Sequence[Any]) -> None:
        self._items = list(items)

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, place: int) -> Any:
        return self._items[place]


def objects(items: Sequence[Any]) -> np.ndarray:
    array = np.empty(len(items), object)
    array[:] = list(items)
    return array


def series(items: Sequence[Any], index: Sequence[Any] | None = None) -> pd.Series:
    """By default the index counts down, so that labels are no positions."""
    return pd.Series(objects(items), index=range(len(items) - 1, -1, -1) if index is None else index)


def column(items: Sequence[str]) -> Any:
    return datasets.Dataset.from_dict({"text": list(items)})["text"]


LISTS: dict[str, Callable[[Sequence[Any]], Any]] = {
    "list": list,
    "tuple": tuple,
    "object array": objects,
    "Series that counts down": series,
    "Series with names": lambda items: series(items, [f"row {i}" for i in range(len(items))]),
    "Series with one label": lambda items: series(items, [0] * len(items)),
    "generator": lambda items: (item for item in items),
    "map": lambda items: map(lambda item: item, items),
    "values of a dict": lambda items: dict(enumerate(items)).values(),
    "deque": deque,
    "UserList": UserList,
    "by position only": Positions,
}
"""Containers of anything, each with the items in their order."""

OF_STRINGS: dict[str, Callable[[Sequence[str]], Any]] = {
    "str array": lambda items: np.array(items, str),
    "StringDType array": lambda items: np.array(items, np.dtypes.StringDType()),
    "Series of pandas' strings": lambda items: pd.Series(items, dtype="string", index=range(len(items), 0, -1)),
    "categories": lambda items: pd.Series(pd.Categorical(items)),
    "Index": pd.Index,
    "polars Series": pl.Series,
    "pyarrow array": pa.array,
    "pyarrow chunks": lambda items: pa.chunked_array([[item] for item in items], pa.string()),
    "column of a data set": column,
    "keys of a dict": lambda items: dict.fromkeys(items).keys(),
}
"""Of strings only; they differ from each other."""

OF_PAIRS: dict[str, Callable[[Sequence[tuple[str, str]]], Any]] = {
    "2-D array": lambda pairs: np.array(pairs, str).reshape(-1, 2),
    "MultiIndex": pd.MultiIndex.from_tuples,
    "zip": lambda pairs: zip(*zip(*pairs, strict=True), strict=True),
    "items of a dict": lambda pairs: dict(pairs).items(),
    "lists": lambda pairs: [list(pair) for pair in pairs],
    "arrays": lambda pairs: [np.array(pair) for pair in pairs],
    "Series": lambda pairs: series([pd.Series(pair, index=[1, 0]) for pair in pairs]),
}

TABLES: dict[str, Callable[[Sequence[Any]], Any]] = {
    "DataFrame": lambda items: pd.DataFrame({"text": [str(item) for item in items], "other": "x"}),
    "polars DataFrame": lambda items: pl.DataFrame({"text": [str(item) for item in items]}),
    "LazyFrame": lambda items: pl.LazyFrame({"text": [str(item) for item in items]}),
    "Table": lambda items: pa.table({"text": [str(item) for item in items]}),
    "Dataset": lambda items: datasets.Dataset.from_dict({"text": [str(item) for item in items]}),
}

REFUSED: dict[str, Callable[[Sequence[Any]], Any]] = {
    "set": set,
    "frozenset": frozenset,
    "dict": lambda items: dict(enumerate(items)),
    "dict of texts": dict.fromkeys,
    "OrderedDict": lambda items: OrderedDict(enumerate(items)),
    "UserDict": lambda items: UserDict(enumerate(items)),
    "Counter": Counter,
    "bytes": lambda items: str(items[0]).encode(),
    "bytearray": lambda items: bytearray(str(items[0]).encode()),
    "int": lambda items: 5,
    "float": lambda items: float("nan"),
    "object": lambda items: object(),
    **TABLES,
}
"""No order of their own, or no container of texts."""

ROWS_REFUSED: dict[str, Callable[[Sequence[Any]], Any]] = {
    "nested list": lambda items: [[item] for item in items],
    "array of rows": lambda items: objects(items)[:, None],
    "a list of bytes": lambda items: [str(item).encode() for item in items],
    "a list with None": lambda items: [*items, None],
    "a list with NaN": lambda items: [*items, float("nan")],
    "a list of sets": lambda items: [{item} for item in items],
    "a list of dicts": lambda items: [{"text": item} for item in items],
}
"""A list, but its rows are no texts."""

PAIR_ROWS_REFUSED: dict[str, Callable[[Sequence[tuple[str, str]]], Any]] = {
    "one text a row": lambda pairs: [list(pair)[:1] for pair in pairs],
    "three texts a row": lambda pairs: [[*pair, "third"] for pair in pairs],
    "texts between pairs": lambda pairs: [*pairs, "a text"],
    "sets": lambda pairs: [set(pair) for pair in pairs],
    "dicts": lambda pairs: [{"query": query, "document": document} for query, document in pairs],
    "frames": lambda pairs: [pd.DataFrame({"a": list(pair)}) for pair in pairs],
    "two strings of bytes": lambda pairs: [(query.encode(), document) for query, document in pairs],
}
