"""Texts → rows of a program → its first output, window by window: the road that every head with strings shares."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from QEfficient.auto.ready import Ready
from QEfficient.errors import InputError
from QEfficient.records import Rows
from QEfficient.runtime import spans
from QEfficient.runtime.stream import FIRST, Source
from QEfficient.text.tokenizer import Overlong, Text, Tokens

SHOWN = 8  # texts that an error lists


@dataclass(frozen=True, slots=True)
class TextWindow:
    """Consecutive texts, tokenised.

    Attributes:
        tokens: Their rows, with the program's own inputs.
        first: The number of the first one among the caller's.
        count: How many there are.
    """

    tokens: Tokens
    first: int
    count: int

    @property
    def rows(self) -> Rows:
        """One row a text, or several where it was split into chunks."""
        return self.tokens.rows

    @property
    def numbers(self) -> Sequence[int]:
        """The text that each row belongs to."""
        owners = self.tokens.owners
        whole = range(self.first, self.first + self.count)
        return whole if owners is None else [whole[owner] for owner in owners]


class Reading:
    """How texts become rows of a program. Safe from many threads.

    Args:
        ready: The program.
        prompt: Put before each text.
        limit: Tokens of a row.
        overlong: What happens to longer texts.
    """

    def __init__(self, ready: Ready, *, prompt: str, limit: int, overlong: Overlong) -> None:
        self._tokenizer = ready.tokenizer
        self._prompt, self._limit, self._overlong = prompt, limit, overlong
        self._names = [spec.name for spec in ready.program.manifest.inputs]
        self._skipped = 0
        if prompt and "pooling_mask" in self._names:
            self._skipped = self._tokenizer.prompt_length(prompt, max_length=limit)

    def __call__(self, first: int, texts: Sequence[Text]) -> TextWindow:
        """Tokenises texts, the first of which has this number among the caller's.

        Raises:
            InputError: A text can't be run; the message names it.
        """
        with spans.span("tokenise"):
            tokens = self._tokenizer.encode(
                texts, prompt=self._prompt, max_length=self._limit, overlong=self._overlong, first=first
            )
            columns = dict(tokens.rows.columns)
            if "pooling_mask" in self._names:
                columns["pooling_mask"] = without_prompt(tokens, self._skipped, first)
            rows = replace(tokens.rows, columns={name: columns[name] for name in self._names if name in columns})
            return TextWindow(replace(tokens, rows=rows), first, len(texts))


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
    ready: Ready,
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
        yield window, next(iter(ready.run(window.rows, devices, progress, numbers=window.numbers).values()))
        return
    try:
        with ready.stream(Source(texts), reading, devices, progress) as stream:
            for window, arrays in stream:
                yield window, next(iter(arrays.values()))
    except InputError:
        reading(0, texts)  # where one window was refused, say it of all
        raise
