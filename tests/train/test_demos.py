"""The demos in small: what `make demo-sentiment` and `make demo-embeddings` run in full."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks.demos import embeddings, sentiment

pytestmark = pytest.mark.slow


@pytest.mark.sweep
def test_sentiment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page.html"
    monkeypatch.setattr(sys, "argv", ["sentiment", "--rows", "300", "--seconds", "0.1", "--report", str(page)])
    sentiment.main()
    printed = capsys.readouterr().out
    assert "frozen, linear head: accuracy" in printed and "McNemar" in printed and "LoRA, by the fake card" in printed
    assert "confusion" in page.read_text().lower()


@pytest.mark.sweep
def test_embeddings(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["embeddings", "--pairs", "32", "--editorials", "60"])
    embeddings.main()
    printed = capsys.readouterr().out
    assert "32 pairs" in printed and "ndcg@10" in printed and "SentenceTransformer loads it" in printed


def test_no_sentence_stands_on_both_sides() -> None:
    pairs, test = embeddings.split()
    learnt = {text for pair in pairs for text in pair}
    assert len(pairs) > 3000 and len(test["queries"]) > 400
    assert not learnt & {*test["queries"].values(), *test["corpus"].values()}
