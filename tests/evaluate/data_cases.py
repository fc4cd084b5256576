"""One small data set a task, and every container that it may come in."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import datasets
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet

Columns = dict[str, list[Any]]

SQUAD = [{"text": ["two", "2"], "answer_start": [4, 9]}, {"text": [], "answer_start": []}]
ARC = [{"text": ["a cat", "a dog"], "label": ["A", "B"]}, {"text": ["red", "blue"], "label": ["1", "2"]}]

# Task → what people have, and what comes of it.
CASES: dict[str, tuple[Columns, Columns]] = {
    "similarity": (
        {"sentence1": ["a man", "a dog"], "sentence2": ["one man", "a cat"], "similarity_score": [4.5, 1.0]},
        {"text": ["a man", "a dog"], "pair": ["one man", "a cat"], "score": [4.5, 1.0]},
    ),
    "text-classification": (
        {"idx": [7, 8], "review": ["so, so\ngood", 'it\'s "bad"'], "sentiment": ["pos", "neg"]},
        {"text": ["so, so\ngood", 'it\'s "bad"'], "label": ["pos", "neg"]},
    ),
    "multi-label": (
        {"text": ["x", "y", "z"], "labels": [[2, 0], [], [1]]},
        {"text": ["x", "y", "z"], "labels": [[0, 2], [], [1]]},
    ),
    "regression": ({"content": ["x", "y"], "stars": [5, 1]}, {"text": ["x", "y"], "score": [5.0, 1.0]}),
    "token-classification": (
        {"words": [["Ada", "wrote"], ["Paris"]], "ner_tags": [["B-PER", "O"], ["B-LOC"]]},
        {"tokens": [["Ada", "wrote"], ["Paris"]], "tags": [["B-PER", "O"], ["B-LOC"]]},
    ),
    "question-answering": (
        {"question": ["how many?", "who?"], "context": ["The two. 2.", "Nobody knows."], "answers": SQUAD},
        {
            "question": ["how many?", "who?"],
            "context": ["The two. 2.", "Nobody knows."],
            "answers": [["two", "2"], []],
            "starts": [[4, 9], []],
        },
    ),
    "fill-mask": (
        {"sentence": ["Paris is in <mask>.", "[MASK] is wet."], "word": ["France", "water"]},
        {"text": ["Paris is in [MASK].", "[MASK] is wet."], "target": ["France", "water"]},
    ),
    "multiple-choice": (
        {"question": ["It purrs?", "The sky?"], "choices": ARC, "answerKey": ["A", "2"]},
        {"prompt": ["It purrs?", "The sky?"], "choices": [["a cat", "a dog"], ["red", "blue"]], "label": [0, 1]},
    ),
    "reranking": (
        {"anchor": ["q1", "q2"], "positive": ["d1", "d3"], "negative": [["d2", "d3"], ["d1"]]},
        {
            "query": ["q1", "q2"],
            "documents": [["d1", "d2", "d3"], ["d3", "d1"]],
            "grades": [[1, 0, 0], [1, 0]],
        },
    ),
    "retrieval": (
        {"question": ["q1", "q2", "q1"], "passage": ["d1", "d2", "d3"]},
        {"query": ["q1", "q2"], "relevant": [{0: 1, 2: 1}, {1: 1}]},
    ),
}


def rows_of(columns: Columns) -> list[dict[str, Any]]:
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _generator(columns: Columns, folder: Path) -> Iterator[dict[str, Any]]:
    return (row for row in rows_of(columns))


def _jsonl(columns: Columns, folder: Path) -> Path:
    path = folder / "data.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows_of(columns)), "utf-8", "replace")
    return path


def _json_rows(columns: Columns, folder: Path) -> str:
    path = folder / "rows.json"
    path.write_text(json.dumps(rows_of(columns)))
    return str(path)


def _json_columns(columns: Columns, folder: Path) -> Path:
    path = folder / "columns.json"
    path.write_text(json.dumps(columns))
    return path


def _text_file(suffix: str, separator: str) -> Callable[[Columns, Path], Path]:
    def write(columns: Columns, folder: Path) -> Path:
        path = folder / f"data.{suffix}"
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, delimiter=separator)
            writer.writerow(columns)
            for row in zip(*columns.values(), strict=True):
                writer.writerow([json.dumps(v) if isinstance(v, list | dict) else v for v in row])
        return path

    return write


def _pandas_csv(columns: Columns, folder: Path) -> Path:
    path = folder / "pandas.csv"
    pd.DataFrame(columns).to_csv(path, index=False)
    return path


def _parquet(columns: Columns, folder: Path) -> Path:
    path = folder / "data.parquet"
    pa.parquet.write_table(pa.table(columns), path)
    return path


SOURCES: dict[str, Callable[[Columns, Path], Any]] = {
    "mappings": lambda columns, folder: rows_of(columns),
    "tuple of mappings": lambda columns, folder: tuple(rows_of(columns)),
    "generator": _generator,
    "columns": lambda columns, folder: columns,
    "pandas": lambda columns, folder: pd.DataFrame(columns, index=[f"row {i}" for i in range(_length(columns))]),
    "pandas with arrow": lambda columns, folder: pa.table(columns).to_pandas(types_mapper=pd.ArrowDtype),
    "polars": lambda columns, folder: pl.DataFrame(columns),
    "polars, lazy": lambda columns, folder: pl.LazyFrame(columns),
    "pyarrow": lambda columns, folder: pa.table(columns),
    "Dataset": lambda columns, folder: datasets.Dataset.from_dict(columns),
    "Dataset of tensors": lambda columns, folder: datasets.Dataset.from_dict(columns).with_format("torch"),
    "IterableDataset": lambda columns, folder: datasets.Dataset.from_dict(columns).to_iterable_dataset(),
    "DatasetDict": lambda columns, folder: datasets.DatasetDict(test=datasets.Dataset.from_dict(columns)),
    "JSONL": _jsonl,
    "JSON, rows": _json_rows,
    "JSON, columns": _json_columns,
    "CSV": _text_file("csv", ","),
    "TSV": _text_file("tsv", "\t"),
    "CSV of pandas": _pandas_csv,
    "parquet": _parquet,
}


def _length(columns: Columns) -> int:
    return len(next(iter(columns.values())))
