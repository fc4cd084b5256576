"""The rows that language models are trained on: texts, prompts with completions, chats, sources with targets.

They are for training only: evaluation has no task for what a model writes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from QEfficient import arguments
from QEfficient.errors import InputError
from QEfficient.evaluate.data.cells import UNFIT, Cells, items, read_each
from QEfficient.evaluate.data.columns import Wanted, find_columns
from QEfficient.evaluate.data.digest import digest_of
from QEfficient.evaluate.data.roles import DataTask, Role
from QEfficient.evaluate.data.sources import table_of
from QEfficient.evaluate.data.values import KINDS
from QEfficient.evaluate.record import Examples
from QEfficient.train.distill_texts import holds_strings

CAUSAL, SEQ2SEQ = "text-generation", "text2text-generation"
"""What such rows are for, by the names of the hub's tasks."""

COMPLETION, CHAT, TEXT = ("prompt", "completion"), ("messages",), ("text",)
"""The forms of rows for :data:`CAUSAL`: the roles of each."""

TASKS: dict[str, DataTask] = {
    CAUSAL: DataTask(
        CAUSAL,
        (
            Role("prompt", "text", ("instruction", "question", "query")),
            Role("completion", "text", ("response", "answer", "output")),
            Role("messages", "messages", ("conversation", "conversations", "dialog", "dialogue")),
            Role("text", "text", ("content", "document", "body", "sentence")),
        ),
        (COMPLETION, CHAT, TEXT),
    ),
    SEQ2SEQ: DataTask(
        SEQ2SEQ,
        (
            Role("source", "text", ("src", "text", "input", "document", "article", "question")),
            Role("target", "text", ("tgt", "summary", "highlights", "output", "answer", "label")),
        ),
    ),
}
"""Task → the roles of its rows, and the names of columns under which they are found."""


def read_language_rows(data: object, task: str, columns: Wanted | None = None) -> Examples:
    """Reads and checks rows to train a language model on. What is wrong is said by row.

    >>> read_language_rows(["one text", "another"], "text-generation").columns
    {'text': ['one text', 'another']}
    >>> read_language_rows([("2 + 2 =", " 4")], "text-generation").columns
    {'prompt': ['2 + 2 ='], 'completion': [' 4']}

    Args:
        data: A ``datasets.Dataset``, a data frame of pandas or polars, a table of pyarrow, a mapping from columns to
            values, a list of mappings or of tuples, or the path of a JSONL, JSON, CSV, TSV or parquet file. For
            ``"text-generation"`` also a list of strings. Rows that were read before stay as they are.
        task: ``"text-generation"``: rows with ``prompt`` and ``completion``; else with ``messages``, a list of
            ``{"role": …, "content": …}`` a row; else with ``text``. ``"text2text-generation"``: rows with ``source``
            and ``target``.
        columns: Role → name of its column, where it is none that people use.

    Raises:
        UsageError: The task, a role or a column is unknown.
        InputError: There is no such file, a column is missing, there are no rows, or a value is no text, an empty one
            or no chat.
        MissingExtraError: A file needs a package that is not installed.
    """
    arguments.one_of("task", task, tuple(TASKS))
    if isinstance(data, Examples):
        return _as_read(data, task)
    found, name = _read(data, task, columns)
    if not all(found.values()):
        raise InputError(
            "There are no rows to train on.",
            got=name,
            allowed="one row or more",
            do="check how they were loaded, and what was filtered",
        )
    return Examples(task, found, digest=digest_of(found), name=name)


def _as_read(examples: Examples, task: str) -> Examples:
    if examples.task != task:
        raise InputError(
            f"These rows were read for {examples.task}.",
            got=f"rows with {', '.join(examples.columns)}",
            allowed=f"rows for {task}",
            do="read the data they came from again",
        )
    return examples


def _read(data: object, task: str, columns: Wanted | None) -> tuple[dict[str, Sequence[Any]], str]:
    if task == CAUSAL and columns is None and holds_strings(data):
        texts = arguments.strings("data", data)
        name = f"list of {len(texts)} texts"
        return {"text": KINDS["text"](Cells("text", "text", texts))}, name
    table = table_of(data)
    if not table.rows:
        return {"text": ()}, table.source
    places = find_columns(table, TASKS[task], columns)
    found: dict[str, Sequence[Any]] = {}
    for role in TASKS[task].roles:
        if role.name in places:
            [column] = places[role.name]
            found[role.name] = _KINDS[role.kind](Cells(role.name, column, table.read(column), table.written))
    return found, table.source


def _chats(cells: Cells) -> list[list[dict[str, str]]]:
    def read(value: Any) -> Any:
        found = items(cells, value)
        return [dict(message) for message in found] if found and all(map(_is_message, found)) else UNFIT

    allowed = 'a list of {"role": "user", "content": "…"} a row, all of it strings'
    return read_each(cells, read, "are no chat", allowed, "bring each row to this form, or drop it")


def _is_message(value: Any) -> bool:
    return (
        isinstance(value, Mapping)
        and {"role", "content"} <= value.keys()
        and all(isinstance(part, str) for pair in value.items() for part in pair)
    )


_KINDS: Mapping[str, Callable[[Cells], Sequence[Any]]] = {"text": KINDS["text"], "messages": _chats}
