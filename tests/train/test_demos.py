"""The demos in small: what `make demo-sentiment`, `-embeddings`, `-reranker` and `-entities` run in full."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from benchmarks.demos import embeddings, entities, entity_sentences, reranker, sentiment
from QEfficient import QEFFAutoModel
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
    monkeypatch.setattr(sys, "argv", ["reranker", "--snippets", "80"])
    reranker.main()
    printed = capsys.readouterr().out
    assert "48 snippets, 30 topics to learn from; held out 32 and 20" in printed and "queries; 0." in printed
    assert "all queries, gain: ndcg@10" in printed and "those in new words, gain: mrr@10" in printed


@pytest.mark.slow
@pytest.mark.sweep
def test_entities(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["entities", "--sentences", "90", "--tests", "30", "--epochs", "0.4"])
    entities.main()
    printed = capsys.readouterr().out
    assert printed.startswith("The data is generated")
    assert "new templates, new names: entity_f1" in printed and "by the fake card (fp16)" in printed


def test_no_snippet_and_no_topic_of_the_reranker_stands_on_both_sides() -> None:
    train, held_out, known, new = reranker.split(None)
    assert len(train) > 3000 and len(held_out) > 2000 and len(known) == 30 and len(new) == 20
    assert not {text for text, _ in train} & {text for text, _ in held_out}
    assert not set(known) & set(new) and len({*known, *new}) == len(reranker.TOPICS)


class Letters:
    """A stand-in for a model of vectors: texts are alike as far as they have the same letters."""

    def encode(self, texts: list[str], show_progress_bar: bool) -> np.ndarray[Any, Any]:
        return np.array([[text.count(letter) for letter in "xyz"] for text in texts], np.float32)

    def similarity(self, first: np.ndarray[Any, Any], second: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return -np.abs(first[:, None] - second[None]).sum(-1)


def test_a_reranker_learns_each_snippet_with_a_near_topic_and_whether_the_side_fits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reranker, "NEAR", 1)
    topics = ["xxx", "yyy", "zzz"]
    snippets = [(letter * 3 + f" {number}", reranker.SIDES[number % 2]) for letter in "xyz" for number in range(40)]
    rows = reranker.lessons(cast(QEFFAutoModel, Letters()), snippets, topics, reranker.SIDES)
    seen = []
    for row in rows:
        [asked] = [
            side
            for side in reranker.SIDES
            for form in reranker.TRAINING[side]
            if row["query"] in [form.format(topic) for topic in topics]
        ]
        assert row["grades"] == [int(dict(snippets)[text] == asked) for text in row["documents"]]
        assert all(text[:3] in row["query"] for text in row["documents"])
        seen += row["documents"]
    assert len(seen) == len(set(seen)) > 100
    praise = reranker.lessons(cast(QEFFAutoModel, Letters()), snippets, topics, ["positive"])
    assert {row["query"] for row in praise} == {
        form.format(topic) for form in reranker.TRAINING["positive"] for topic in topics
    }


def test_a_reranker_is_asked_for_each_side_of_each_topic(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reranker, "CANDIDATES", 4)
    snippets = [(letter * 3 + f" {number}", reranker.SIDES[number % 2]) for letter in "xyz" for number in range(4)]
    rows = reranker.questions(cast(QEFFAutoModel, Letters()), snippets, ["xxx", "zzz"])
    assert len(rows) == 8 and [row["cluster"] for row in rows] == ["xxx"] * 4 + ["zzz"] * 4
    assert sum(np.array(row["grades"]) for row in rows).tolist() == [4, 4, 4, 4]  # each is right for one side
    only = reranker.questions(cast(QEFFAutoModel, Letters()), [(text, "positive") for text, _ in snippets], ["xxx"])
    assert [row["query"] for row in only] == [form.format("xxx") for form in reranker.TEST["positive"]]


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
