"""What a data set is for, where the caller leaves it out: from what the model does and what the columns hold."""

from __future__ import annotations

from itertools import islice
from typing import Any

from QEfficient.errors import UsageError
from QEfficient.evaluate.data.cells import Cells, items, scalar
from QEfficient.evaluate.data.columns import Wanted, find_columns
from QEfficient.evaluate.data.roles import TASKS
from QEfficient.evaluate.data.table import DataTable

_EMBEDS = ("feature-extraction", "sentence-similarity")
_CLASSIFIES = ("text-classification", "text-ranking")
_LOOKED_AT = 100  # rows; of a column of labels one is enough, but for those that are missing


def infer_task(table: DataTable, model_task: str | None, columns: Wanted | None = None) -> str:
    """The task of :data:`TASKS` that a data set is for.

    Args:
        table: The data set.
        model_task: What the model does, as HuggingFace names it: ``"feature-extraction"``, ….
        columns: What the caller says of roles and their columns.

    Returns:
        For a model of embeddings ``"similarity"``, ``"retrieval"`` or ``"reranking"``; for a classifier of texts
        ``"text-classification"``, ``"multi-label"``, ``"regression"`` or ``"reranking"``; for others what they do.

    Raises:
        UsageError: The columns fit several of these tasks or none, or nothing is known of the model.
    """
    if model_task in _EMBEDS:
        found = _of_embeddings(table, columns)
    elif model_task in _CLASSIFIES:
        found = _of_texts(table, columns)
    else:
        found = [model_task] if model_task in TASKS else []
    if len(found) == 1:
        return found[0]
    raise UsageError(
        f"It is not clear what the {table.source} is for: it fits {' and '.join(found) or 'no task'}.",
        got=f"the columns {', '.join(table.names)}; the model is for {model_task or 'nothing that is known'}",
        allowed=", ".join(map(repr, TASKS)),
        do="pass task=… as one of these, and columns={role: name} where the names of the columns don't tell",
    )


def _of_embeddings(table: DataTable, columns: Wanted | None) -> list[str]:
    found = [task for task in ("similarity", "reranking", "retrieval") if _fits(table, task, columns)]
    if _has_lists(table, columns):  # a positive is a document too
        return [task for task in found if task != "retrieval"]
    return found


def _of_texts(table: DataTable, columns: Wanted | None) -> list[str]:
    if _has_lists(table, columns):
        return ["reranking"]
    if _fits(table, "reranking", columns):  # a query, a document and a label a row: pairs to classify, or to rank
        return ["text-classification", "reranking"]
    if _fits(table, "text-classification", columns):
        return [_of_labels(table, find_columns(table, TASKS["text-classification"], columns)["label"][0])]
    return [task for task in ("multi-label", "regression") if _fits(table, task, columns)]


def _of_labels(table: DataTable, column: str) -> str:
    """What labels are: lists, numbers in between, or one name or whole number a row."""
    cells = Cells("label", column, list(islice(table.read(column), _LOOKED_AT)), table.written)
    if any(items(cells, value) is not None for value in cells.values):
        return "multi-label"
    known = [value for value in (scalar(cells, value) for value in cells.values) if value is not None]
    return (
        "regression" if known and all(_is_fraction(value, table.written) for value in known) else "text-classification"
    )


def _is_fraction(value: Any, written: bool) -> bool:
    if not (written and isinstance(value, str)):
        return isinstance(value, float)
    try:
        float(value)
    except ValueError:
        return False
    return not value.strip().lstrip("+-").isdecimal()


def _fits(table: DataTable, task: str, columns: Wanted | None) -> bool:
    """Whether a task's roles are there; the places of tuples tell nothing."""
    try:
        return bool(find_columns(table, TASKS[task], columns)) and not (table.positional and not columns)
    except UsageError:  # a role or a column is not there
        return False


def _has_lists(table: DataTable, columns: Wanted | None) -> bool:
    """Whether rows are queries with documents of theirs, which are relevant or not."""
    fits = _fits(table, "reranking", columns)
    return fits and "document" not in find_columns(table, TASKS["reranking"], columns)
