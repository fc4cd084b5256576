"""What the vendor's form prints while it runs: each prompt with its answer, in the prompts' order."""

from __future__ import annotations

from collections.abc import Callable, Sequence


class AnswerPrinter:
    """Prints several answers that are written at once, one after the other.

    The first that is not at its end is printed as it is written; what the others have meanwhile is kept.

    Args:
        prompts: One text an answer.
        write: Takes pieces of text; left out, they are printed.
    """

    def __init__(self, prompts: Sequence[str], write: Callable[[str], object] | None = None) -> None:
        self._prompts = prompts
        self._write = write or _print
        self._kept = [""] * len(prompts)
        self._ended = [False] * len(prompts)
        self._shown = -1  # the answer that is being printed
        self._next()

    def put(self, answer: int, piece: str) -> None:
        """A piece of one answer."""
        if answer == self._shown:
            self._write(piece)
        else:
            self._kept[answer] += piece

    def end(self, answer: int) -> None:
        """One answer is at its end."""
        self._ended[answer] = True
        if answer == self._shown:
            self._next()

    def _next(self) -> None:
        """Goes on to the next answer, and to those behind it as long as they are at their ends."""
        while True:
            if self._shown >= 0:
                self._write("\n")
            self._shown += 1
            if self._shown == len(self._prompts):
                return
            self._write(f"\nPrompt : {self._prompts[self._shown]}\nCompletion :{self._kept[self._shown]}")
            if not self._ended[self._shown]:
                return


def _print(piece: str) -> None:
    print(piece, end="", flush=True)
