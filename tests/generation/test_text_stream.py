"""Pieces of text, token by token: joined they are the decoded whole, and none of them is taken back."""

from __future__ import annotations

import sys
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Regex, decoders, models
from tokenizers import Tokenizer as FastTokenizer

from QEfficient.records import TextFacts
from QEfficient.text.streaming import TextStream
from QEfficient.text.tokenizer import Tokenizer
from tests.generation.tokenizer_kinds import ADDED, KINDS, SPECIALS, ours, texts


def streamed(tokenizer: Tokenizer, ids: list[int], *, skip: bool = True) -> list[str]:
    """All pieces of a stream, after these checks: joined they are the whole, and no piece has half a character."""
    stream = TextStream(tokenizer, skip_special_tokens=skip)
    pieces = [*map(stream.put, ids), stream.end()]
    whole = tokenizer.decode(ids, skip_special_tokens=skip)
    assert "".join(pieces) == whole
    assert sum(piece.count("\ufffd") for piece in pieces) == whole.count("\ufffd")
    assert stream.end() == ""
    return pieces


def agree(kind: str, some: list[str]) -> None:
    for clean_up in (False, True):
        tokenizer = ours(kind, clean_up=clean_up)
        for text in some:
            ids = tokenizer.ids(text)
            for skip in (True, False):
                streamed(tokenizer, ids, skip=skip)


@pytest.mark.parametrize("kind", KINDS)
def test_pieces_are_the_whole_text(kind: str) -> None:
    agree(kind, texts(2000)[:150])


@pytest.mark.sweep
@pytest.mark.parametrize("part", range(3))
@pytest.mark.parametrize("kind", KINDS)
def test_pieces_of_two_thousand_texts(kind: str, part: int) -> None:
    agree(kind, texts(2000)[part::3])


@pytest.mark.parametrize("kind", KINDS)
def test_pieces_of_tokens_by_chance(kind: str) -> None:
    """What an untrained model writes: bytes that are no UTF-8, ids without a token, special tokens anywhere."""
    random, size = Random(kind), ours(kind).size + 5
    for clean_up in (False, True):
        tokenizer = ours(kind, clean_up=clean_up)
        for _ in range(300):
            ids = [random.randrange(size) for _ in range(random.randrange(40))]
            for skip in (True, False):
                streamed(tokenizer, ids, skip=skip)


@pytest.mark.parametrize("kind", ["byte_level", "byte_fallback", "metaspace"])
def test_characters_cut_anywhere(kind: str) -> None:
    tokenizer = ours(kind)
    ids = tokenizer.ids("日 €😀 é 🏳️‍🌈", add_special_tokens=False)
    assert len(ids) > 12
    for start in range(len(ids)):
        for stop in range(start + 1, len(ids) + 1):
            streamed(tokenizer, ids[start:stop])
            streamed(tokenizer, [*ids[start:stop], *ids[:3]])


def test_text_comes_as_soon_as_it_is_decided() -> None:
    tokenizer = ours("byte_level")
    ids = tokenizer.ids("aa bb cc", add_special_tokens=False)
    assert streamed(tokenizer, ids) == [*(tokenizer.decode([one]) for one in ids), ""]
    euro = [tokenizer.ids(text, add_special_tokens=False) for text in ("x", "€")]
    assert streamed(tokenizer, [*euro[0], *euro[1], *euro[0]])[-2:] == ["x", ""]


def test_special_tokens_are_left_out_or_written() -> None:
    tokenizer = ours("byte_level")
    ids = tokenizer.ids("<|im_start|>a<tool_call>")
    assert list(TextStream(tokenizer).pieces(ids)) == ["a", "<tool_call>"]
    assert "".join(TextStream(tokenizer, skip_special_tokens=False).pieces(ids)) == "<s><|im_start|>a<tool_call>"


TOKENS = [
    "a",
    " ",
    "b</w>",
    "▁",
    "▁▁c",
    "##d",
    "<0xE2>",
    "<0x82>",
    "<0xAC>",
    "<0x41>",
    "<0x+5>",
    "é",
    "Ġx",
    "â",
    "Ĥ",
    "¬",
]
TOKENS += [".", "'", "n't", " ' ", "do not", "  ", "aab", "\ufffd", "日", "</w>"]
STEPS = st.sampled_from(
    [
        decoders.ByteLevel(),
        decoders.ByteFallback(),
        decoders.BPEDecoder(),
        decoders.BPEDecoder("b"),
        decoders.Metaspace(),
        decoders.Metaspace(prepend_scheme="never"),
        decoders.WordPiece(),
        decoders.WordPiece(prefix="a", cleanup=False),
        decoders.CTC(),
        decoders.Fuse(),
        decoders.Replace("▁", " "),
        decoders.Replace("aa", "b"),
        decoders.Replace(Regex("a+|▁"), "x"),
        decoders.Strip(" ", 1, 0),
        decoders.Strip("a", 2, 0),
    ]
)
FUSED = st.sampled_from([decoders.Strip(" ", 0, 0), decoders.Strip(" ", 2, 0), decoders.Strip("a", 0, 0)])


def with_decoder(decoder: decoders.Decoder | None, *, clean_up: bool = False) -> Tokenizer:
    """A tokenizer of these tokens, and some that are special."""
    vocab = {token: i for i, token in enumerate([*SPECIALS, *TOKENS])}
    made = FastTokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    made.add_special_tokens(SPECIALS)
    if decoder is not None:
        made.decoder = decoder
    return Tokenizer(made, TextFacts("tokenizer.json", 512, clean_up_spaces=clean_up))


IDS = st.lists(st.integers(0, len(SPECIALS) + len(TOKENS)), max_size=12)


@settings(deadline=None, max_examples=600)
@given(IDS, st.lists(STEPS, min_size=1, max_size=4), st.booleans(), st.booleans())
def test_any_decoder(ids: list[int], parts: list[decoders.Decoder], clean_up: bool, skip: bool) -> None:
    streamed(with_decoder(decoders.Sequence(parts), clean_up=clean_up), ids, skip=skip)


@settings(deadline=None, max_examples=200)
@given(IDS, st.integers(0, 3), st.integers(0, 3), st.sampled_from(" a▁"))
def test_ends_stripped_of_the_whole_text(ids: list[int], start: int, stop: int, content: str) -> None:
    padding = [len(SPECIALS) + TOKENS.index("é")] * 2  # of a text that is stripped away the library's own step panics
    strip = decoders.Sequence([decoders.Fuse(), decoders.Strip(content, start, stop)])
    streamed(with_decoder(strip), [*ids[:6], *padding, *ids[6:]])


@settings(deadline=None, max_examples=200)
@given(IDS, st.booleans())
def test_no_decoder(ids: list[int], clean_up: bool) -> None:
    streamed(with_decoder(None, clean_up=clean_up), ids)


def test_a_token_takes_as_long_late_as_early() -> None:
    """Work, counted in bytecode lines rather than seconds, grows with the tokens and not with their square."""
    for kind in KINDS:
        tokenizer = ours(kind, clean_up=True)
        ids = tokenizer.ids("a real text of some words. " * 10)
        once, ten = lines_run(tokenizer, ids), lines_run(tokenizer, ids * 10)
        assert ten < 11 * once


def lines_run(tokenizer: Tokenizer, ids: list[int]) -> int:
    count = 0

    def trace(frame: object, event: str, _: object) -> object:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)  # type: ignore[arg-type]
    try:
        list(TextStream(tokenizer).pieces(ids))
    finally:
        sys.settrace(before)
    return count


def test_an_added_token_between_bytes() -> None:
    tokenizer = ours("byte_level")
    ids = [tokenizer.ids("€", add_special_tokens=False)[0], tokenizer.ids(ADDED[1], add_special_tokens=False)[-1]]
    assert streamed(tokenizer, ids)[0] == ""
