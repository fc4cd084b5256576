"""What must hold of rows, whatever is trained on them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from QEfficient.errors import InputError, OptionError, UsageError

if TYPE_CHECKING:
    from torch import nn

    from QEfficient.evaluate.record import Examples
    from QEfficient.records import TextFacts
    from QEfficient.train.request import TrainRequest


NO_LIMIT = 10**9
"""Tokenizers without a limit say a number beyond this one."""


def room_of(module: nn.Module, tokenizer: Any) -> int | None:
    """Tokens that a row can have, as tokenizer and model say it; ``None`` where neither does.

    Args:
        module: A model of transformers.
        tokenizer: HuggingFace's.
    """
    config: Any = module.config
    positions = getattr(config.get_text_config(), "max_position_embeddings", None)
    said = (getattr(tokenizer, "model_max_length", None), positions)
    return min((int(one) for one in said if one and one < NO_LIMIT), default=None)


def row_limit(module: nn.Module, tokenizer: Any, text: TextFacts | None, asked: int | None) -> int:
    """Tokens after which a row is cut.

    Args:
        module: A model of transformers.
        tokenizer: HuggingFace's.
        text: The model's limit; ``None`` for a module in memory.
        asked: What the caller wants, if anything. It never adds to what there is room for.

    Raises:
        OptionError: Nobody says it.
    """
    room = room_of(module, tokenizer) if text is None else text.max_length
    limit = min((one for one in (room, asked) if one), default=None)
    if limit is None:
        raise OptionError(
            "Neither model nor tokenizer says how long a row may be.",
            got="no model_max_length, no max_position_embeddings",
            allowed="a number of tokens",
            do="pass max_length=…",
        )
    return limit


def check_rows(train: Examples, held_out: Examples | None, request: TrainRequest) -> None:
    """Refuses what can't be trained on.

    Args:
        train: The rows.
        held_out: Those that are held out.
        request: How to train.

    Raises:
        InputError: There are no rows, or those that are held out are for another task.
        UsageError: The loss on held-out rows is to stop the training, and there are none.
    """
    if request.early_stopping is not None and held_out is None:
        raise UsageError(
            "early_stopping looks at the loss on held-out rows, and there are none.",
            got=f"early_stopping={request.early_stopping}",
            allowed="held-out rows beside those to train on",
            do="pass eval=…, or drop early_stopping",
        )
    for examples, what in ((train, "train on"), (held_out, "hold out")):
        if examples is not None and not len(examples):
            raise InputError(f"There are no rows to {what}.", got="0 rows", allowed="rows", do="pass some")
    if held_out is not None and held_out.task != train.task:
        raise InputError(
            "The held-out rows are for another task.",
            got=f"{held_out.task!r} beside {train.task!r}",
            allowed="rows for the same task",
            do="read both for one task",
        )


def check_tokens(rows: Iterable[Sequence[Any]], words: int, where: str) -> None:
    """Refuses tokens that the model does not have.

    Args:
        rows: Ids of each row, or lists of them.
        words: How many tokens the model knows.
        where: What an error calls the rows.

    Raises:
        InputError: A row has one beyond these.
    """
    for row, ids in enumerate(rows):
        highest = max(max(one) if isinstance(one, list) else one for one in ids)
        if highest >= words:
            raise InputError(
                f"The tokenizer makes tokens of the {where} rows that the model does not have.",
                got=f"token {highest} in row {row}, of a model with {words}",
                allowed="a tokenizer of the same model",
                do="load both from one repo, or call module.resize_token_embeddings(len(tokenizer))",
            )
