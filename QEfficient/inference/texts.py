"""Texts → rows of a program → its first output, window by window: the road that every head with strings shares."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from QEfficient.errors import InputError
from QEfficient.inference.loaded_program import LoadedProgram
from QEfficient.records import RowRules, Rows, TensorSpec
from QEfficient.runtime import spans
from QEfficient.runtime.beside import of_tokens
from QEfficient.runtime.stream import FIRST, Source
from QEfficient.text.tokenizer import Overlong, Text, Tokenizer, Tokens

SHOWN = 8  # texts that an error lists


@dataclass(frozen=True, slots=True)
class TextWindow:
    """Consecutive texts, tokenised.

    Attributes:
        rows: One row a text, or several where it was split into chunks.
        first: The number of the first text among the caller's.
        count: How many texts there are.
        owners: As :class:`~QEfficient.text.tokenizer.Tokens` has them: the place in this window of each row's text.
        overlong: Likewise: the places of the texts that were longer than the limit.
    """

    rows: Rows
    first: int
    count: int
    owners: tuple[int, ...] | None = None
    overlong: tuple[int, ...] = ()

    @property
    def numbers(self) -> Sequence[int]:
        """The text that each row belongs to, among the caller's."""
        whole = range(self.first, self.first + self.count)
        return whole if self.owners is None else [whole[owner] for owner in self.owners]


class Reading:
    """How texts become rows of a graph. Safe from many threads.

    Args:
        tokenizer: The model's.
        inputs: The graph's.
        rules: What a row may look like.
        prompt: Put before each text.
        limit: Tokens of a row.
        overlong: What happens to longer texts.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        inputs: Sequence[TensorSpec],
        rules: RowRules,
        *,
        prompt: str,
        limit: int,
        overlong: Overlong,
    ) -> None:
        self._tokenizer, self._inputs, self._rules = tokenizer, inputs, rules
        self._prompt, self._limit, self._overlong = prompt, limit, overlong
        # Only a graph that takes what a tokenizer does not give, as TAPAS's seven types a token, needs rows of its own.
        named = {spec.name for spec in self._inputs} <= {"input_ids", "attention_mask", "token_type_ids"}
        self._as_given = named and not self._rules.more
        self._pools = any(spec.name == "pooling_mask" for spec in self._inputs)
        self._skipped = 0
        if prompt and self._pools:
            self._skipped = self._tokenizer.prompt_length(prompt, max_length=limit)

    @classmethod
    def of(cls, loaded: LoadedProgram, *, prompt: str, limit: int, overlong: Overlong) -> Self:
        """For a program."""
        manifest = loaded.program.manifest
        return cls(loaded.tokenizer, manifest.inputs, manifest.rules, prompt=prompt, limit=limit, overlong=overlong)

    def __call__(self, first: int, texts: Sequence[Text]) -> TextWindow:
        """Tokenises texts, the first of which has this number among the caller's.

        Raises:
            InputError: A text can't be run; the message names it.
        """
        with spans.NOTHING if (watcher := spans.WATCHER.get()) is None else watcher.span("tokenise"):
            tokens = self._tokenizer.encode(
                texts, prompt=self._prompt, max_length=self._limit, overlong=self._overlong, first=first
            )
            rows = tokens.rows if self._as_given else of_tokens(tokens.rows, self._inputs, self._rules)
            if self._pools:
                columns = {**rows.columns, "pooling_mask": without_prompt(tokens, self._skipped, first)}
                rows = Rows(columns, rows.width, rows.lengths)
            return TextWindow(rows, first, len(texts), tokens.owners, tokens.overlong)


def without_prompt(tokens: Tokens, length: int, first: int = 0) -> list[NDArray[np.int64]]:
    """Each row's mask of the tokens that are pooled: all but the prompt's, which the first window of a text holds.

    Raises:
        InputError: A text has no token beside the prompt's.
    """
    masks = [np.ones(tokens_of_row, dtype=np.int64) for tokens_of_row in tokens.rows.lengths]
    owners = list(range(len(masks))) if tokens.owners is None else list(tokens.owners)
    empty = []
    for row, owner in enumerate(owners):
        if row == 0 or owners[row - 1] != owner:
            masks[row][:length] = 0
            empty += [first + owner] if not masks[row].any() else []
    if empty:
        raise InputError(
            "The repo pools without the prompt's tokens, and these texts have no others.",
            got=f"texts {', '.join(map(str, empty[:SHOWN]))}" + (", …" if len(empty) > SHOWN else ""),
            allowed="texts with a token of their own, beside a prompt that is shorter than max_seq_length",
            do="drop these texts, or shorten the prompt",
        )
    return masks


def outputs(
    loaded: LoadedProgram,
    reading: Reading,
    texts: Sequence[Text],
    devices: Sequence[int] | None,
    progress: Callable[[int], None] | None,
) -> Iterator[tuple[TextWindow, NDArray[Any]]]:
    """All texts of a list, in order; the next ones are tokenised while those before them are run. No texts: one window.

    The same list always makes the same windows and batches, so that it gets the same bits.

    Raises:
        InputError: A text can't be run; the message counts all such texts of the list.
    """
    if len(texts) <= FIRST:  # one window: a hand-over to another thread would only cost time
        window = reading(0, texts)
        yield window, next(iter(loaded.run(window.rows, devices, progress, numbers=window.numbers).values()))
        return
    try:
        with loaded.stream(Source(texts), reading, devices, progress) as stream:
            for window, arrays in stream:
                yield window, next(iter(arrays.values()))
    except InputError:
        window = reading(0, texts)  # where one window was refused, say it of all
        loaded.tables.check(window.rows, window.numbers)
        raise
