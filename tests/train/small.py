"""Small models and rows to train on, made up: nothing is learnt from them but what a test asks for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from QEfficient.evaluate.record import Examples
from QEfficient.train.sentence_model import SentenceHead
from tests.tiny_repo import tiny_repo

TEXTS = [
    f"this is {word} " + "indeed " * (number % 7) + f"number {number}"
    for number in range(20)
    for word in ("good", "awful")
]
LABELS = ["positive" if "good" in text else "negative" for text in TEXTS]
MEAN = SentenceHead(({"step": "pooling", "modes": ["mean"]}, {"step": "normalize"}))


def rows(task: str, digest: str = "rows", **columns: Any) -> Examples:
    """Rows as the reader of data gives them."""
    corpus = columns.pop("corpus", ())
    return Examples(task, columns, corpus, digest=digest, name="made up")


def classes() -> Examples:
    """A text and one of two labels."""
    return rows("text-classification", text=TEXTS, label=LABELS)


def scored_pairs() -> Examples:
    """Two texts and how near they are."""
    scores = [1.0 if number % 2 else 0.0 for number in range(len(TEXTS))]
    return rows("similarity", text=TEXTS, pair=TEXTS[2:] + TEXTS[:2], score=scores)


def pairs() -> Examples:
    """A query and the text that answers it."""
    queries = [f"what is {number} of {number}" for number in range(len(TEXTS))]
    return rows("retrieval", query=queries, relevant=[{place: 1.0} for place in range(len(TEXTS))], corpus=TEXTS)


def graded() -> Examples:
    """A query with three documents, the first of which answers it."""
    queries = [f"what is {number} of {number}" for number in range(20)]
    documents = [TEXTS[number : number + 3] for number in range(20)]
    return rows("reranking", query=queries, documents=documents, grades=[[1, 0, 0]] * 20)


def repo(folder: Path) -> Path:
    """A tiny sentence-transformers repo."""
    return tiny_repo(folder)


def tokenizer(folder: Path) -> Any:
    """HuggingFace's, of the repo."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


def classifier(folder: Path, labels: int = 2, kind: str = "SequenceClassification") -> Any:
    """The repo's model with a new head, the same one each time."""
    return _loaded(f"AutoModelFor{kind}", folder, num_labels=labels)


def encoder(folder: Path) -> Any:
    """The repo's model."""
    return _loaded("AutoModel", folder)


def _loaded(name: str, folder: Path, **keywords: Any) -> Any:
    import transformers

    from QEfficient.source.loading import load

    return load(lambda: getattr(transformers, name).from_pretrained(folder, **keywords))
