"""The demos in small: what `make demo-sentiment`, `-embeddings`, `-reranker` and `-entities` run in full."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from benchmarks.demos import embeddings, entities, entity_sentences, reranker, sentiment
from QEfficient import QEFFAutoModel
from QEfficient.evaluate.metrics.catalogue import metrics_of
from QEfficient.evaluate.metrics.tags import entities as tagged
from QEfficient.evaluate.record import Outcome


@pytest.mark.slow
@pytest.mark.sweep
def test_sentiment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page.html"
    monkeypatch.setattr(sys, "argv", ["sentiment", "--rows", "300", "--seconds", "0.1", "--report", str(page)])
    sentiment.main()
    printed = capsys.readouterr().out
    assert "frozen, linear head: accuracy" in printed and "McNemar" in printed and "LoRA, by the fake card" in printed
    assert "confusion" in page.read_text().lower()


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.sweep
def test_reranker(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["reranker", "--queries", "8", "--editorials", "20"])
    reranker.main()
    printed = capsys.readouterr().out
    assert "8 queries to learn from" in printed and "of 4 editorials held out" in printed
    assert "vectors: ndcg@10" in printed and "both less vectors: mrr@10" in printed


@pytest.mark.slow
@pytest.mark.sweep
def test_entities(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["entities", "--sentences", "90", "--tests", "30", "--epochs", "0.4"])
    entities.main()
    printed = capsys.readouterr().out
    assert printed.startswith("The data is generated")
    assert "new templates, new names: entity_f1" in printed and "by the fake card (fp16)" in printed


class FirstWords:
    """A stand-in for a model of vectors: texts are alike as far as they begin alike."""

    def encode(self, texts: list[str], show_progress_bar: bool) -> np.ndarray[Any, Any]:
        return np.array([[float(number) for number in text.split()[0].split("-")] for text in texts], np.float32)

    def similarity(self, first: np.ndarray[Any, Any], second: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return -np.abs(first[:, None] - second[None]).sum(-1)


def test_a_reranker_learns_a_neighbour_and_the_nearest_sentences_of_others() -> None:
    texts = [[f"{editorial}-{number} sentence" for number in range(4)] for editorial in range(5)]
    rows = reranker.lessons(cast(QEFFAutoModel, FirstWords()), texts, None)
    assert [row["query"] for row in rows[:2]] == ["0-0 sentence", "0-2 sentence"] and len(rows) == 10
    assert rows[0]["positives"] == ["0-1 sentence"]
    assert rows[0]["negatives"][0] == "1-0 sentence"  # as near as any that is not of its own editorial
    for row in rows:
        assert not {text[0] for text in row["negatives"]} & {row["query"][0]}


def test_a_reranker_is_scored_on_all_that_is_relevant() -> None:
    """A relevant document that is no candidate counts as missed by every order."""
    test = {
        "queries": {"q": "query"},
        "corpus": {"a": "1", "b": "2", "c": "3"},
        "relevant": {"q": {"a", "c"}},
        "cluster": {"q": 7},
    }
    found = reranker.outcome(test, [{"a": 0.9, "b": 0.5}])
    [ndcg, *_] = metrics_of("retrieval", reranker.METRICS)
    assert ndcg.each(found)[0] == pytest.approx(1 / (1 + 1 / np.log2(3)))
    assert reranker.reached(test, [{"a": 0.9}]) == 1 and reranker.reached(test, [{"b": 0.9}]) == 0


def test_reciprocal_ranks_add_up() -> None:
    [both] = reranker.fused([{"a": 0.9, "b": 0.5}], [{"a": -3.0, "b": 4.0}])
    assert both == {"a": 1 / 61 + 1 / 62, "b": 1 / 62 + 1 / 61}


def test_templates_and_names_of_entities_are_held_out() -> None:
    known, new = entity_sentences.parts()
    assert not set(known.templates) & set(new.templates)
    assert len(known.templates) + len(new.templates) == len(set(entity_sentences.TEMPLATES))
    sets = [{*known.first, *known.words}, {*new.first, *new.words}]
    assert not sets[0] & sets[1]
    generic = set(" ".join(form for forms in entity_sentences.FORMS.values() for form in forms).split())
    for part, own in ((known, sets[0]), (new, sets[1])):
        for row in entity_sentences.sentences(part, 300, seed=3):
            for kind, start, end in tagged(row["tags"]):
                assert kind in entity_sentences.KINDS
                assert set(row["tokens"][start:end]) <= own | generic


def test_every_kind_is_held_out_and_the_same_seed_gives_the_same_sentences() -> None:
    _, new = entity_sentences.parts()
    rows = entity_sentences.sentences(new, 2 * len(new.templates), seed=1)
    assert rows == entity_sentences.sentences(new, 2 * len(new.templates), seed=1)
    assert {kind for row in rows for kind, *_ in tagged(row["tags"])} == set(entity_sentences.KINDS)


def test_a_list_of_names_knows_those_of_its_sentences() -> None:
    train = [{"tokens": ["Port", "Falk", "sleeps"], "tags": ["B-LOC", "I-LOC", "O"]}]
    rows = [{"tokens": ["In", "Port", "Falk", "and", "Falk"], "tags": ["O"] * 5}]
    assert entities.by_list(train, rows) == [["O", "B-LOC", "I-LOC", "O", "O"]]


def test_one_kind_of_entities() -> None:
    both = Outcome(entities.TASK, [["B-PER", "I-PER", "O", "B-LOC"]], [["B-PER", "O", "O", "B-LOC"]])
    one = entities.of_kind(both, "PER")
    assert one.right == [["B-PER", "I-PER", "O", "O"]] and one.given == [["B-PER", "O", "O", "O"]]
