"""Answers that are written at once are printed one after the other, whatever the order of their pieces."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from QEfficient.generation.printing import AnswerPrinter


@given(st.lists(st.lists(st.text("ab \n", max_size=3), max_size=4), min_size=1, max_size=4), st.randoms())
def test_any_interleaving(answers: list[list[str]], order: object) -> None:
    prompts = [f"prompt {i}" for i in range(len(answers))]
    left = {i: [*pieces, None] for i, pieces in enumerate(answers)}
    written: list[str] = []
    printer = AnswerPrinter(prompts, written.append)
    while left:
        i = order.choice(sorted(left))  # type: ignore[attr-defined]  # a Random
        piece = left[i].pop(0)
        if piece is None:
            printer.end(i)
            del left[i]
        else:
            printer.put(i, piece)
    wanted = "".join(f"\nPrompt : {p}\nCompletion :{''.join(a)}\n" for p, a in zip(prompts, answers, strict=True))
    assert "".join(written) == wanted


def test_the_first_is_printed_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    printer = AnswerPrinter(["one", "two"])
    printer.put(1, "later")
    printer.put(0, " now")
    assert capsys.readouterr().out == "\nPrompt : one\nCompletion : now"
    printer.end(0)
    assert capsys.readouterr().out == "\n\nPrompt : two\nCompletion :later"
