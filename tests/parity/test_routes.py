"""A sentence-transformers Router: each route is a program, and a task of another route is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Dense, Normalize, Router, Transformer
from sentence_transformers.sentence_transformer.modules import Pooling

from QEfficient import QEFFAutoModel
from QEfficient.errors import UsageError
from tests.family_repos import randomised
from tests.parity.test_sentence_transformers import assert_equal
from tests.real_text import snippets
from tests.tiny_repo import tiny_repo

TEXTS = snippets(16)


def compiled(folder: Path, **keywords: Any) -> QEFFAutoModel:
    model = QEFFAutoModel.from_pretrained(folder, pooling="auto", **keywords)
    model.compile(seq_len=64)
    return model


def refused(call: Any, route: str) -> None:
    with pytest.raises(UsageError, match=f"from_pretrained.*route='{route}'"):
        call(TEXTS[:1])


@pytest.fixture
def encoders(tmp_path: Path) -> list[Transformer]:
    return [Transformer(str(tiny_repo(tmp_path / str(seed), seed=seed))) for seed in (0, 1)]


def test_an_encoder_for_queries_and_one_for_documents(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoders: list[Transformer]
) -> None:
    monkeypatch.setenv("QEFF_HOME", str(tmp_path / "home"))
    small, large = encoders
    router = Router.for_query_document([small, Pooling(32, "cls"), randomised(Dense(32, 32))], [large, Pooling(32)])
    theirs = SentenceTransformer(modules=[router, Normalize()], prompts={"query": "q: "}, device="cpu")
    theirs.save(str(tmp_path / "repo"))
    document = compiled(tmp_path / "repo")
    assert_equal(np.asarray(theirs.encode_document(TEXTS)), document.encode_document(TEXTS))
    assert_equal(np.asarray(theirs.encode(TEXTS)), document.encode(TEXTS))
    refused(document.encode_query, "query")
    query = compiled(tmp_path / "repo", route="query")
    assert_equal(np.asarray(theirs.encode_query(TEXTS)), query.encode_query(TEXTS))
    assert_equal(np.asarray(theirs.encode(TEXTS, task="query")), query.encode(TEXTS, task="query"))
    refused(query.encode, "document")
    refused(query.encode_document, "document")
    assert query.benchmark(TEXTS, rounds=1).rows == len(TEXTS)  # of the route that it has
    saved = QEFFAutoModel.from_pretrained(query.save_pretrained(tmp_path / "saved"))
    refused(saved.encode_document, "document")
    with pytest.raises(UsageError, match="no route for this task"):
        saved.encode(TEXTS[:1], task="clustering")


def test_one_encoder_with_two_heads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoders: list[Transformer]
) -> None:
    """As ``Asym`` was used: the routes differ behind the pooling only."""
    monkeypatch.setenv("QEFF_HOME", str(tmp_path / "home"))
    first, second = randomised(Dense(32, 24)), randomised(Dense(32, 24, bias=False))
    router = Router({"question": [first], "answer": [second]}, allow_empty_key=False)
    theirs = SentenceTransformer(modules=[encoders[0], Pooling(32), router], device="cpu")
    theirs.save(str(tmp_path / "repo"))
    ours = compiled(tmp_path / "repo", route="answer")
    assert_equal(np.asarray(theirs.encode(TEXTS, task="answer")), ours.encode(TEXTS, task="answer"))
    with pytest.raises(UsageError, match="no route for this task"):
        ours.encode(TEXTS)
