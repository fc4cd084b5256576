"""A text is cut into sentences, and nothing of it is lost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from QEfficient.text.sentences import sentences
from tests.generation.tokenizer_kinds import texts

CUTS = [
    ["One. ", "Two! ", "Three?"],
    ["“Is it?” ", "She asked (twice). ", "No."],
    ["Dr. Smith paid $3.50 to J. R. Jones at 3.15 p.m. on Main St. today. ", "He left."],
    ["See e.g. the first, or cf. Fig. 3. ", "Then go on… ", "Well."],
    ["It ends...and goes on. ", "It ends... ", "New one."],
    ["Das ist z. B. so, bzw. anders. ", "Und das ist Nr. 5."],
    ["吾輩は猫である。", "名前はまだ無い。", "「どこで生れたか。」", "とんと見当がつかぬ"],
    ["यह पहला है। ", "यह दूसरा है॥ ", "और"],
    ["هل هذا سؤال؟ ", "نعم."],
    ["ይህ አንድ ነው። ", "ይህ ሁለት ነው።"],
    ["A heading without a mark\n\n", "A paragraph of two\nlines. ", "And more."],
    ["version 2.5.1 of example.org/a.b?c!d stays whole"],
    ["   "],
]


@pytest.mark.parametrize("parts", CUTS, ids=lambda parts: parts[0][:12])
def test_sentences_end_where_they_do(parts: list[str]) -> None:
    assert sentences("".join(parts)) == parts


def test_nothing_is_no_sentence() -> None:
    assert sentences("") == []


@given(st.text("ab Z.!?。\n\"'”)।3", max_size=60))
def test_nothing_is_lost_and_none_is_empty(text: str) -> None:
    found = sentences(text)
    assert "".join(found) == text
    assert all(found)


def test_real_texts_stay_whole() -> None:
    for text in texts(2000):
        found = sentences(text)
        assert "".join(found) == text
        assert all(part.strip() for part in found[1:])
