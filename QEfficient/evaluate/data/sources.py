"""Whatever rows come in as one table: data sets, data frames, lists, mappings, files.

Containers of other libraries are known by what they can do; none is imported.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from QEfficient.arguments import each, listed
from QEfficient.errors import InputError
from QEfficient.evaluate.data.cells import row_numbers
from QEfficient.evaluate.data.files import read_file
from QEfficient.evaluate.data.table import DataTable, once


def table_of(data: Any, limit: int | None = None) -> DataTable:
    """A data set as one table.

    Args:
        data: A path; a ``Dataset`` or ``IterableDataset`` of datasets, or a ``DatasetDict`` of one split; a data frame
            of pandas or polars; a table of pyarrow; a mapping from columns to values; a list or generator of mappings
            or of tuples.
        limit: The most rows to take, from the first on.

    Raises:
        InputError: It is none of these, or a broken one.
        MissingExtraError: A file needs a package that is not installed.
    """
    if isinstance(data, (str, os.PathLike)):
        return replace(table_of(read_file(data, limit), limit), source=f"file {Path(data).name}")
    if isinstance(data, DataTable):
        return data
    if isinstance(data, Mapping) and data and all(_is_dataset(split) for split in data.values()):
        return table_of(_only_split(data), limit)
    if hasattr(data, "collect_schema") and hasattr(data, "collect"):  # polars' lazy frame
        return table_of(data.collect(), limit)
    if isinstance(data, Mapping):
        return _of_columns(data, limit)
    if _is_dataset(data):
        return _of_dataset(data, limit) if hasattr(data, "select") else _of_stream(data, limit)
    if hasattr(data, "column_names") and hasattr(data, "to_pylist"):  # pyarrow's
        cut = data[:limit]
        return _by_columns(cut.column_names, len(cut), lambda place: cut.column(place).to_pylist(), "table")
    if hasattr(data, "columns") and hasattr(data, "iloc"):  # pandas'
        cut = data.iloc[:limit]
        return _by_columns(cut.columns, len(cut), lambda place: cut.iloc[:, place].tolist(), "DataFrame")
    if hasattr(data, "columns") and hasattr(data, "to_series"):  # polars'
        cut = data[:limit]
        return _by_columns(cut.columns, len(cut), lambda place: cut.to_series(place).to_list(), "DataFrame")
    return _of_rows(data, limit)


def _is_dataset(data: object) -> bool:
    """Of datasets' two kinds, which are the only ones with names of columns and features."""
    return hasattr(data, "column_names") and hasattr(data, "features")


def _only_split(data: Mapping[Any, Any]) -> Any:
    if len(data) > 1:
        raise InputError(
            "These are several splits of a data set.",
            got=", ".join(map(str, data)),
            allowed="one of them",
            do=f"pass data[{next(reversed(data))!r}]",
        )
    return next(iter(data.values()))


def _of_dataset(data: Any, limit: int | None) -> DataTable:
    """A ``datasets.Dataset``, whose columns are read one by one.

    Sound that datasets has no package to decode with stays undecoded.
    """
    data = data.with_format(None)
    if limit is not None:
        data = data.select(range(min(limit, len(data))))
    names = {column: found for column, feature in data.features.items() if (found := _label_names(feature))}

    def read(name: str) -> list[Any]:
        column = data.select_columns([name])
        try:
            return list(column[:][name])
        except ImportError:
            feature = type(column.features[name])
            if feature.__name__ != "Audio":
                raise
            return list(column.cast_column(name, feature(decode=False))[:][name])

    return DataTable(tuple(data.column_names), len(data), read, f"Dataset of {len(data)} rows", label_names=names)


def _of_stream(data: Any, limit: int | None) -> DataTable:
    """A ``datasets.IterableDataset``, read to its end or to the limit."""
    data = data.with_format(None).decode(False)  # images and sound are decoded where they are read
    features = data.features or {}
    names = {column: found for column, feature in features.items() if (found := _label_names(feature))}
    return replace(_of_rows(list(islice(data, limit)), None), label_names=names)


def _label_names(feature: Any) -> tuple[str, ...]:
    """What whole numbers stand for in a column of labels, or in one of lists of labels."""
    inner = getattr(feature, "feature", feature)
    return tuple(inner.names) if hasattr(inner, "int2str") else ()


def _by_columns(names: Any, rows: int, read: Callable[[int], list[Any]], kind: str) -> DataTable:
    """A table whose columns are read by place."""
    known = once([str(name) for name in names], kind)
    return DataTable(known, rows, lambda name: read(known.index(name)), f"{kind} of {rows} rows")


def _of_columns(data: Mapping[Any, Any], limit: int | None) -> DataTable:
    columns = {str(name): list(islice(each(str(name), values, "values"), limit)) for name, values in data.items()}
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        raise InputError(
            "The columns are not equally long.",
            got=", ".join(f"{name}: {length}" for name, length in lengths.items()),
            allowed="one value a row in each",
            do="check how the columns were made",
        )
    rows = next(iter(lengths.values()), 0)
    return DataTable(once(list(columns), "mapping"), rows, columns.__getitem__, f"mapping of {rows} rows")


def _of_rows(data: object, limit: int | None) -> DataTable:
    kind = "list" if isinstance(data, (list, tuple)) else type(data).__name__
    rows = listed("data", data, "rows") if limit is None else list(islice(each("data", data, "rows"), limit))
    source = f"{kind} of {len(rows)} rows"
    if all(isinstance(row, Mapping) for row in rows):
        names = list(dict.fromkeys(str(name) for row in rows for name in row))
        return DataTable(tuple(names), len(rows), lambda name: _of_each(rows, name), source)
    if all(isinstance(row, (list, tuple)) for row in rows):
        return _of_tuples(rows, source)
    row = next(row for row, value in enumerate(rows) if not isinstance(value, (Mapping, list, tuple)))
    raise InputError(
        "The rows are not all mappings, nor all tuples.",
        got=f"row {row} (from 0) is a {type(rows[row]).__name__}: {rows[row]!r:.60}",
        allowed="a list of mappings from columns to values, or of tuples",
        do='pass [{"text": …, "label": …}, …], or a data frame',
    )


def _of_each(rows: Sequence[Mapping[Any, Any]], name: str) -> list[Any]:
    lacking = [place for place, row in enumerate(rows) if name not in row]
    if lacking:
        raise InputError(
            f"Not every row has {name!r}.",
            got=f"{row_numbers(lacking)}; row {lacking[0]} has {', '.join(map(str, rows[lacking[0]]))}",
            allowed="rows that all have it",
            do="fill it in, or drop these rows",
        )
    return [row[name] for row in rows]


def _of_tuples(rows: Sequence[Sequence[Any]], source: str) -> DataTable:
    width = len(rows[0])
    if odd := [place for place, row in enumerate(rows) if len(row) != width]:
        raise InputError(
            f"Rows are not equally long: the first has {width} values.",
            got=f"{row_numbers(odd)}; row {odd[0]} has {len(rows[odd[0]])}",
            allowed="as many values in each row",
            do="check how the rows were made",
        )
    names = tuple(map(str, range(width)))
    return DataTable(names, len(rows), lambda name: [row[int(name)] for row in rows], source, positional=True)
