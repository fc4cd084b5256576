"""The way in: a data set of any kind → checked examples of one task."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from QEfficient.arguments import one_of, positive
from QEfficient.errors import InputError, UsageError
from QEfficient.evaluate.data.cells import Cells
from QEfficient.evaluate.data.columns import Wanted, find_columns
from QEfficient.evaluate.data.digest import digest_of
from QEfficient.evaluate.data.files import read_file
from QEfficient.evaluate.data.infer import infer_task
from QEfficient.evaluate.data.labels import indicator_width
from QEfficient.evaluate.data.rankings import clusters_of_queries, is_collection, read_collection
from QEfficient.evaluate.data.roles import CLUSTER, TASKS
from QEfficient.evaluate.data.sources import table_of
from QEfficient.evaluate.data.split import subset
from QEfficient.evaluate.data.table import DataTable
from QEfficient.evaluate.data.values import KINDS
from QEfficient.evaluate.data.whole_rows import assemble, join_clusters
from QEfficient.evaluate.record import Examples

_LABELS = ("label", "labels", "tags")


def read_examples(
    data: object,
    task: str | None = None,
    columns: Wanted | None = None,
    limit: int | None = None,
    model_task: str | None = None,
) -> Examples:
    """Reads and checks a data set for one task. What is wrong is said by row before anything runs.

    Args:
        data: A ``datasets.Dataset``, a data frame of pandas or polars, a table of pyarrow, a mapping from columns to
            values, a list or a generator of mappings or of tuples in the order of the task's roles, or the path of a
            JSONL, JSON, CSV, TSV or parquet file. For retrieval also a mapping with ``queries``, ``corpus`` and
            ``relevant``, as InformationRetrievalEvaluator of sentence-transformers takes them. Examples that were read
            before, as parts of a split are, stay as they are.
        task: A name of :data:`QEfficient.evaluate.data.roles.TASKS`; left out, ``model_task`` and the columns tell it.
        columns: Role → name of its column, where that is none of the names that people use; a list of names where one
            value of the role is spread over several columns, ``None`` for a column that is not to be used.
            ``{"cluster": …}`` names the column that says which rows belong together.
        limit: The most rows to read, from the first on.
        model_task: What the model does, as HuggingFace names it; only asked where ``task`` is left out.

    Returns:
        Role → values as :data:`QEfficient.evaluate.data.roles.TASKS` says, in the order of the rows. For retrieval, and
        for reranking from rows of one document each, a row is a query.

    Raises:
        UsageError: The task, a role or a column is unknown, or it is not clear what the data is for.
        InputError: There is no such file, it is broken, a column is missing, two columns may be meant, there are no
            rows, or values can't be used.
        MissingExtraError: A file needs a package that is not installed.

    Example:
        >>> found = read_examples([("good", 1), ("bad", 0)], "text-classification")
        >>> found.columns, len(found)
        ({'text': ['good', 'bad'], 'label': [1, 0]}, 2)
    """
    if task is not None:
        one_of("task", task, tuple(TASKS))
    if limit is not None:
        positive("limit", limit, "rows")
    if isinstance(data, Examples):
        return _as_read(data, task, columns, limit)
    source = ""
    if isinstance(data, (str, os.PathLike)):
        source = Path(data).name
        data = read_file(data, limit)
    if task in (None, "retrieval") and isinstance(data, Mapping) and is_collection(data):
        return _of_collection(data, columns, limit, source)
    table = table_of(data, limit)
    if not table.rows:
        raise InputError(
            "The data set has no rows.",
            got=source or table.source,
            allowed="one row or more",
            do="check how it was loaded, and what was filtered",
        )
    task = task or infer_task(table, model_task, columns)
    return _of_table(table, task, columns, source)


def _as_read(examples: Examples, task: str | None, columns: Wanted | None, limit: int | None) -> Examples:
    if task not in (None, examples.task) or columns:
        raise UsageError(
            f"These examples were read for {examples.task}.",
            got=f"task={task!r}, columns={columns!r}",
            allowed="neither, or the same task",
            do="read the data they came from again",
        )
    return examples if limit is None or limit >= len(examples) else subset(examples, range(limit))


def _of_table(table: DataTable, task: str, columns: Wanted | None, source: str) -> Examples:
    places = find_columns(table, TASKS[task], columns)
    cells = {role: _cells(table, role, names) for role, names in places.items()}
    values = {role: KINDS[TASKS[task].role(role).kind](found) for role, found in cells.items()}
    clusters = values.pop(CLUSTER.name, None)
    if clusters is not None and "document" in values:
        clusters = join_clusters(values["query"], clusters)
    whole, corpus = assemble(task, values)
    names = next((_label_names(table, cells[role], places[role]) for role in _LABELS if role in cells), ())
    digest = digest_of(whole, corpus, names)
    return Examples(task, whole, corpus, _numbered(clusters), digest, source or table.source, label_names=names)


def _of_collection(data: Mapping[str, Any], columns: Wanted | None, limit: int | None, source: str) -> Examples:
    if odd := set(columns or ()) - {CLUSTER.name}:
        raise UsageError(
            "The parts of a collection can't be renamed.",
            got=f"columns names {', '.join(map(repr, sorted(odd)))}",
            allowed=f"columns={{{CLUSTER.name!r}: …}} only",
            do="call the parts queries, corpus and relevant",
        )
    whole, corpus = read_collection(data, limit)
    column = (columns or {}).get(CLUSTER.name)
    clusters = None if column is None else clusters_of_queries(data, str(column), limit)
    name = source or f"{len(whole['query'])} queries over {len(corpus)} documents"
    return Examples("retrieval", whole, corpus, _numbered(clusters), digest_of(whole, corpus), name)


def _cells(table: DataTable, role: str, names: Sequence[str]) -> Cells:
    """A role's values; of several columns, a list a row."""
    if len(names) == 1:
        return Cells(role, names[0], table.read(names[0]), table.written)
    several = [table.read(name) for name in names]
    return Cells(role, ", ".join(names), [list(row) for row in zip(*several, strict=True)], table.written)


def _label_names(table: DataTable, cells: Cells, columns: Sequence[str]) -> tuple[str, ...]:
    """What whole numbers stand for: said by the data set, or by the columns that a label each has."""
    width = indicator_width(cells) if cells.role == "labels" else 0
    if len(columns) > 1:
        return tuple(columns) if width else ()
    return table.label_names.get(columns[0]) or tuple(map(str, range(width)))


def _numbered(clusters: Sequence[Any] | None) -> NDArray[np.intp] | None:
    """Clusters by the order in which they come."""
    if clusters is None:
        return None
    numbers = {name: number for number, name in enumerate(dict.fromkeys(clusters))}
    return np.array([numbers[name] for name in clusters], np.intp)
