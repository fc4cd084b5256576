"""Ids back to text, as transformers' ``decode`` gives it."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from tokenizers import Tokenizer as FastTokenizer
from transformers import PreTrainedTokenizerFast

from QEfficient.errors import InputError
from tests.generation.tokenizer_kinds import KINDS, fast, ours, texts


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "words"])  # of these transformers adds a decoder
def test_decode_is_transformers(kind: str) -> None:
    random = Random(kind)
    rows = [ours(kind).ids(text) for text in texts(2000)[:60]]
    size = ours(kind).size
    rows += [[random.randrange(size) for _ in range(12)] for _ in range(30)]
    for cleans in (False, True):
        theirs = PreTrainedTokenizerFast(
            tokenizer_object=FastTokenizer.from_str(fast(kind).to_str()), clean_up_tokenization_spaces=cleans
        )
        tokenizer = ours(kind, clean_up=cleans)
        for ids in rows:
            for skip in (False, True):
                for given in (None, False, True):
                    flags = {"skip_special_tokens": skip, "clean_up_tokenization_spaces": given}
                    assert tokenizer.decode(ids, **flags) == theirs.decode(ids, **flags)


@pytest.mark.parametrize("kind", KINDS)
def test_ids_and_tokens(kind: str) -> None:
    tokenizer, theirs = ours(kind), fast(kind)
    for text in texts(2000)[:30]:
        assert tokenizer.ids(text) == theirs.encode(text).ids
        bare = tokenizer.ids(text, add_special_tokens=False)
        assert [theirs.token_to_id("<s>"), *bare] == tokenizer.ids(text)
    assert tokenizer.special_ids == {theirs.token_to_id(token) for token in tokenizer.special_tokens}
    assert tokenizer.token_bytes(tokenizer.size + 5) == b""


@pytest.mark.parametrize("ids", [[-1], [2**40], ["a"], [None], [1.5]])
def test_what_is_no_id(ids: Any) -> None:
    with pytest.raises(InputError, match="can't be decoded"):
        ours("byte_level").decode(ids)


@pytest.mark.parametrize("text", [3, None, ["a"], "\ud800"])
def test_what_is_no_text(text: Any) -> None:
    with pytest.raises(InputError):
        ours("byte_level").ids(text)
