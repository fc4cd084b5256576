"""Which tokens are pooled where a repo leaves out the prompt's."""

from __future__ import annotations

import numpy as np
import pytest

from QEfficient.errors import InputError
from QEfficient.inference.texts import without_prompt
from QEfficient.records import Rows
from QEfficient.text.tokenizer import Tokens


def tokens(*lengths: int, owners: tuple[int, ...] | None = None) -> Tokens:
    return Tokens(Rows({}, width=max(lengths), lengths=lengths), owners=owners)


def masks(found: list[np.ndarray]) -> list[list[int]]:
    return [mask.tolist() for mask in found]


def test_the_prompt_is_left_out_of_each_row() -> None:
    assert masks(without_prompt(tokens(4, 3), 2)) == [[0, 0, 1, 1], [0, 0, 1]]
    assert masks(without_prompt(tokens(2), 0)) == [[1, 1]]


def test_only_the_first_window_of_a_text_holds_the_prompt() -> None:
    found = without_prompt(tokens(3, 3, 2, 3, owners=(0, 0, 0, 1)), 1)
    assert masks(found) == [[0, 1, 1], [1, 1, 1], [1, 1], [0, 1, 1]]


def test_a_text_without_tokens_of_its_own_is_named() -> None:
    with pytest.raises(InputError, match="texts 1, 2"):
        without_prompt(tokens(4, 3, 2), 3)
