"""What ``prune_vocabulary`` is given: texts to choose tokens by, and others on which it is measured what is lost."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from QEfficient import arguments
from QEfficient.auto.compression.guarding import check_measured
from QEfficient.auto.training import check_score
from QEfficient.compress.guard import Guard, parse_guard
from QEfficient.errors import OptionError
from QEfficient.evaluate.record import Examples
from QEfficient.tasks.task import Task


@dataclass(frozen=True, slots=True)
class VocabularyArgs:
    """The arguments of ``prune_vocabulary``, as it describes them."""

    data: object
    held_out: object
    keep: Sequence[str]
    min_count: int
    size: int | None
    max_lost: float | None
    task: str | None
    columns: Mapping[str, str | Sequence[str] | None] | None
    tokenizer: Any
    max_drop: object
    score: Callable[[Any], float] | None
    output_dir: str | Path | None


@dataclass(frozen=True, slots=True)
class VocabularyRows:
    """What was handed in, read and checked.

    Attributes:
        data: Texts to choose the tokens by.
        held_out: Others, or ``None``.
        answered: Of these the rows with answers, where metrics are asked for.
        guard: How much they may get worse.
    """

    data: Examples
    held_out: Examples | None
    answered: Examples | None
    guard: Guard | None


def read_rows(task: Task, args: VocabularyArgs) -> VocabularyRows:
    """Reads what was handed in.

    Args:
        task: What the model is for.
        args: The arguments.

    Raises:
        InputError: There are no texts, or rows that can't be used.
        OptionError: A number out of range, or a limit for what is not measured.
    """
    if args.max_lost is not None and not (arguments.is_number(args.max_lost) and 0 <= args.max_lost <= 1):
        raise OptionError(
            "max_lost is a share of texts.",
            got=f"max_lost={args.max_lost!r}",
            allowed="a number from 0 to 1",
            do="pass, for example, max_lost=0.1",
        )
    check_score(args.score)
    guard = parse_guard(args.max_drop)
    data = _texts(args.data, args)
    if args.held_out is None:
        check_measured(guard, None, args.score)
        return VocabularyRows(data, None, None, guard)
    asked = args.score is None and (args.task is not None or guard is not None)
    answered = _rows_of(task, args.held_out, args) if asked else None
    check_measured(guard, answered, args.score)
    held_out = _texts(args.held_out, args) if answered is None else _texts(answered, args)
    return VocabularyRows(data, held_out, answered, guard)


def _rows_of(task: Task, data: object, args: VocabularyArgs) -> Examples:
    from QEfficient.evaluate.data import read_examples

    if isinstance(data, Examples):
        return data
    return read_examples(data, args.task, args.columns, model_task=task.name)


def _texts(data: object, args: VocabularyArgs) -> Examples:
    """Each text once: of strings, of rows with columns of texts, or of rows of a task that has other columns."""
    from QEfficient.evaluate.data import read_examples
    from QEfficient.evaluate.data.roles import TASKS
    from QEfficient.train.distill_texts import holds_strings, read_texts, text_columns

    named = text_columns(args.columns)
    if isinstance(data, Examples):
        return read_texts(_joined(data))
    if holds_strings(data):
        return read_texts(data)
    known = TASKS.get(args.task or "")
    if args.task is None or (known is not None and "text" in (role.name for role in known.roles)):
        return read_texts(data, named)
    return read_texts(_joined(read_examples(data, args.task, args.columns)))


def _joined(examples: Examples) -> Examples:
    """Rows of words as texts; any others as they are."""
    if "tokens" not in examples.columns:
        return examples
    return dataclasses.replace(examples, columns={"text": [" ".join(words) for words in examples.columns["tokens"]]})
