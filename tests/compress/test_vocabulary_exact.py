"""Texts that lose no token: their ids are the old ones under their new numbers, whichever tokens are lost."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers

from QEfficient.compress.vocabulary.choice import VocabularySize, choose
from QEfficient.compress.vocabulary.counts import count_tokens, lost_tokens
from QEfficient.compress.vocabulary.pieces import fixed, read_pieces
from QEfficient.compress.vocabulary.renumber import new_order, renumbered_tokenizer
from QEfficient.errors import OptionError, UsageError
from tests.compress.vocabularies import KINDS, TEXTS

WORDS = sorted(
    {word for text in TEXTS for word in text.split()} | {"catching", "Übermaus", "中文", "ζ", "dogs!", "[MASK]"}
)
SENTENCES = st.lists(st.sampled_from(WORDS), min_size=1, max_size=6).map(" ".join) | st.text(max_size=12)


def pruned(backend: Tokenizer, texts: list[str], min_count: int = 1) -> tuple[Tokenizer, dict[int, int]]:
    pieces = read_pieces(backend.to_str())
    kept = choose(pieces, count_tokens(backend, texts), VocabularySize(min_count))
    new = {old: place for place, old in enumerate(new_order(pieces, kept, None))}
    return Tokenizer.from_str(renumbered_tokenizer(pieces, new)), new


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=120, deadline=None)
@given(chosen=st.lists(SENTENCES, max_size=5), others=st.lists(SENTENCES, min_size=1, max_size=5), pair=st.booleans())
def test_what_loses_nothing_reads_as_before(kind: str, chosen: list[str], others: list[str], pair: bool) -> None:
    before = KINDS[kind]()
    after, new = pruned(before, chosen)
    names = {name for name, old in before.get_vocab().items() if old in new}
    assert after.get_vocab() == {name: new[old] for name, old in before.get_vocab().items() if old in new}
    assert sorted(after.get_vocab().values()) == list(range(len(new)))
    lost = lost_tokens(before, others, names)
    for place, text in enumerate(others):
        given = (text, text) if pair else (text,)
        old, found = before.encode(*given), after.encode(*given)
        assert (place in lost.touched) == (not set(old.ids) <= new.keys())
        if place not in lost.touched:
            assert found.ids == [new[token] for token in old.ids] and found.type_ids == old.type_ids
    assert not lost_tokens(before, chosen, names).touched


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=60, deadline=None)
@given(chosen=st.lists(SENTENCES, max_size=3), text=SENTENCES)
def test_a_lost_word_becomes_pieces_and_nothing_unknown(kind: str, chosen: list[str], text: str) -> None:
    before = KINDS[kind]()
    after = pruned(before, chosen)[0]
    unknown = {"[UNK]", "<unk>"}
    if not unknown & set(before.encode(text).tokens):
        assert not unknown & set(after.encode(text).tokens)


def test_all_that_a_token_is_merged_of_stays() -> None:
    """Its parts in any of its merges: which of them a word goes through depends on what stands around."""
    before = KINDS["BPE with bytes"]()
    pieces = read_pieces(before.to_str())
    kept = choose(pieces, count_tokens(before, ["mousetrap"]), VocabularySize())
    names = {name for name, token in pieces.ids.items() if token in kept}
    assert {"▁mousetrap", "▁mouse", "▁mous", "mousetrap", "usetrap", "trap"} <= names
    assert "▁garden" not in names and "<0x00>" in names
    merges = json.loads(pruned(before, ["mousetrap"])[0].to_str())["model"]["merges"]
    assert all({left, right, left + right} <= names for left, right in merges)
    assert [merge for merge in map(list, json.loads(before.to_str())["model"]["merges"]) if merge in merges] == merges


def test_what_is_unknown_costs_what_it_did() -> None:
    """Unigram takes 10 from the least score for it: without the token of that score another path would be the best."""
    vocab = [("<unk>", 0.0), ("zz", -20.0), ("xc", -9.0), ("de", -9.0), ("fg", -9.0), ("cdefg", -0.1)]
    vocab += [(letter, -9.0) for letter in "cdefg"]
    before = Tokenizer(models.Unigram(vocab, unk_id=0))
    before.pre_tokenizer = pre_tokenizers.Whitespace()
    assert before.encode("xcdefg").tokens == ["xc", "de", "fg"]
    after, new = pruned(before, ["xcdefg", "cdefg"])
    assert after.encode("xcdefg").tokens == ["xc", "de", "fg"]
    assert 1 in new
    content = json.loads(after.to_str())
    content["model"]["vocab"] = [entry for entry in content["model"]["vocab"] if entry[0] != "zz"]
    assert Tokenizer.from_str(json.dumps(content)).encode("xcdefg").tokens != ["xc", "de", "fg"]  # the trap is there


def test_padding_keeps_its_id_where_it_can() -> None:
    pieces = read_pieces(KINDS["WordPiece"]().to_str())
    kept = {*range(5), *range(40, 80)}
    assert new_order(pieces, kept, 0) == tuple(sorted(kept))
    moved = new_order(pieces, kept - {0, 1, 2}, 3)
    assert moved[3] == 3 and sorted(moved) == sorted(kept - {0, 1, 2})
    assert new_order(pieces, {70, 79}, 79) == (70, 79)


@pytest.mark.parametrize("kind", KINDS)
def test_rare_tokens_go_first(kind: str) -> None:
    before = KINDS[kind]()
    pieces, counts = read_pieces(before.to_str()), count_tokens(before, TEXTS)
    always = len(fixed(pieces))
    sizes = [len(choose(pieces, counts, VocabularySize(count))) for count in (1, 150, 10**6)]
    assert sizes[0] > sizes[1] > sizes[2] == always
    limited = choose(pieces, counts, VocabularySize(size=always + 9))
    assert always < len(limited) <= always + 9
    rest = [counts[token] for token in set(choose(pieces, counts, VocabularySize())) - limited]
    if kind in ("WordPiece", "Unigram"):  # of BPE the parts of a frequent token go before it
        assert min(counts[token] for token in limited - fixed(pieces)) >= max(rest)
    with pytest.raises(OptionError, match=f"{always} or more"):
        choose(pieces, counts, VocabularySize(size=always - 1))


def test_a_count_is_that_of_the_prompt_with_the_most() -> None:
    before = KINDS["byte-level BPE"]()
    counts = count_tokens(before, ["cat", "cat"], ["", "a "])
    vocab = before.get_vocab()
    assert counts[vocab["Ġcat"]] == 2  # after the prompt only
    assert np.all(counts >= count_tokens(before, ["cat", "cat"]))


@pytest.mark.parametrize("kind", ["WordLevel", "a kind of the future"])
def test_words_without_pieces_are_refused(kind: str) -> None:
    content = {"model": {"type": kind, "vocab": {}}, "added_tokens": []}
    with pytest.raises(UsageError, match="no smaller pieces"):
        read_pieces(json.dumps(content))


@pytest.mark.parametrize(("name", "value"), [("min_count", 0), ("min_count", 1.5), ("size", 0), ("size", "all")])
def test_counts_that_are_none_are_refused(name: str, value: object) -> None:
    with pytest.raises(OptionError, match=name):
        VocabularySize(**{name: value})  # type: ignore[arg-type]
