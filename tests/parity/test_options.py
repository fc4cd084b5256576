"""Options of a repo's JSON files that change which tokens are kept, against sentence-transformers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sentence_transformers import CrossEncoder, SentenceTransformer

from QEfficient import QEFFAutoModel, QEFFAutoModelForSequenceClassification
from tests.real_text import articles, snippets
from tests.reranker_repos import bert_reranker
from tests.tiny_repo import tiny_repo

TEXTS = [*snippets(20), *articles()[:6], "The [SEP] of [MASK] and " * 9, "short", ""]
PAIRS = list(zip(TEXTS, reversed(TEXTS), strict=True))

# Plain warnings say that texts were shortened, which is what this is about.
pytestmark = pytest.mark.filterwarnings("ignore:.*w(ere|as) shortened, as sentence-transformers does")


def update(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps((json.loads(path.read_text()) if path.is_file() else {}) | content))


def assert_same(ours: Any, theirs: Any) -> None:
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5)


def test_vectors_of_texts_without_their_starts(tmp_path: Path) -> None:
    folder = tiny_repo(tmp_path / "repo")
    plain = SentenceTransformer(str(folder), device="cpu").encode(TEXTS)
    update(folder / "tokenizer_config.json", {"truncation_side": "left"})
    update(
        folder / "sentence_bert_config.json",
        {"max_seq_length": 24, "processor_kwargs": {"model_max_length": 16, "split_special_tokens": True}},
    )
    update(folder / "config_sentence_transformers.json", {"default_prompt_name": "query"})
    theirs = SentenceTransformer(str(folder), device="cpu")
    model = QEFFAutoModel.from_pretrained(folder, pooling="auto")
    model.compile(seq_len=[16])
    saved = QEFFAutoModel.from_pretrained(model.save_pretrained(tmp_path / "saved"))
    for ours in (model, saved):
        assert ours.max_seq_length == theirs.max_seq_length == 16
        assert_same(ours.encode(TEXTS), theirs.encode(TEXTS))
        assert_same(ours.encode_query(TEXTS), theirs.encode_query(TEXTS))
        assert_same(list(ours.encode_iter(TEXTS)), theirs.encode(TEXTS))
        ours.max_seq_length = 9
    theirs.max_seq_length = 9
    assert_same(model.encode(TEXTS), theirs.encode(TEXTS))
    assert np.abs(plain - theirs.encode(TEXTS)).max() > 0.1


def test_scores_of_pairs_without_their_starts(tmp_path: Path) -> None:
    folder = bert_reranker(tmp_path)
    plain = CrossEncoder(str(folder), device="cpu", max_length=32).predict(PAIRS)
    update(folder / "tokenizer_config.json", {"truncation_side": "left", "model_max_length": 32})
    theirs = CrossEncoder(str(folder), device="cpu")
    model = QEFFAutoModelForSequenceClassification.from_pretrained(folder)
    model.compile(seq_len=[32])
    assert_same(model.predict(PAIRS), theirs.predict(PAIRS))
    ranked = [theirs.rank(TEXTS[0], TEXTS), model.rank(TEXTS[0], TEXTS)]
    assert [row["corpus_id"] for row in ranked[0]] == [row["corpus_id"] for row in ranked[1]]
    assert np.abs(plain - theirs.predict(PAIRS)).max() > 0.01
