"""What travels through the room: examples read, what a model answered to them, and the figures of that."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from QEfficient.records import Json


@dataclass(frozen=True, slots=True, eq=False)  # arrays have no truth value: each is equal to itself only
class Examples:
    """A data set, read and checked for one task.

    Attributes:
        task: A name of :data:`QEfficient.evaluate.data.roles.TASKS`.
        columns: Role → one value a row, all equally long: ``{"text": [...], "label": [...]}``. What each role holds
            stands with the task.
        corpus: The documents of a retrieval task, which its rows name by position; else empty.
        clusters: A number a row; rows of the same number are not independent and are resampled together. ``None``
            where each row is its own.
        digest: SHA-256 of the values and the names of labels, in hex: the same rows in the same order have the same
            one, whether a file, a list or a data frame holds them. Labels by name and the same labels as numbers are
            other values, so have another one.
        name: What the data came from, for people: a file's name, ``"list of 100 rows"``.
        label_names: What whole numbers stand for in ``label``, ``labels`` or ``tags``, by position, where the data says
            it; else empty.
    """

    task: str
    columns: Mapping[str, Sequence[Any]]
    corpus: Sequence[str] = ()
    clusters: NDArray[np.intp] | None = None
    digest: str = ""
    name: str = ""
    label_names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))


@dataclass(frozen=True, slots=True, eq=False)  # arrays have no truth value: each is equal to itself only
class Outcome:
    """What is right, and what a model answered, row by row.

    Both have one entry a row, of a kind that the task names:

    - one label a row: positions in ``labels``, ``(rows,)`` of integers; ``scores`` are the logits ``(rows, labels)``;
    - several labels a row: ``(rows, labels)`` of booleans, likewise;
    - numbers (similarity, regression): ``(rows,)`` of floats;
    - rankings (retrieval, reranking): ``right`` is document → grade, ``given`` document → score, a mapping a row;
    - tags: a list of strings a row, one a word, IOB2;
    - question answering: ``right`` is all answers that count, none where there is no answer; ``given`` one string;
    - a masked word: ``right`` its id, ``given`` the rank at which the model has it, from 1;
    - speech: strings.

    Attributes:
        task: As in :class:`Examples`.
        right: What is right.
        given: What the model answered.
        scores: What the answer was chosen by, where that is known.
        labels: Names of the labels, by position.
        clusters: As in :class:`Examples`.
        pairs: Of pairs of texts that share texts: which two texts a row holds, ``(rows, 2)``; else ``None``.
    """

    task: str
    right: Sequence[Any] | NDArray[Any]
    given: Sequence[Any] | NDArray[Any]
    scores: NDArray[np.float32] | None = None
    labels: tuple[str, ...] = ()
    clusters: NDArray[np.intp] | None = None
    pairs: NDArray[np.intp] | None = None

    def __len__(self) -> int:
        return len(self.right)


@dataclass(frozen=True, slots=True)
class MetricValue:
    """One metric of one model, with its 95 % interval.

    Attributes:
        name: Of the metric: ``"accuracy"``, ``"ndcg@10"``.
        value: Its value; NaN where it is not defined, as a correlation with a constant is not.
        low, high: The ends of the 95 % interval, as ``metrics.intervals.metric_values`` has it; NaN where none can be
            told.
        higher_is_better: False for an error rate.
    """

    name: str
    value: float
    low: float
    high: float
    higher_is_better: bool = True

    def __str__(self) -> str:
        return f"{self.name} {self.value:.4f} [{self.low:.4f}, {self.high:.4f}]"

    def to_dict(self) -> dict[str, Json]:
        """For JSON: what is not defined is null."""
        return {"value": finite(self.value), "low": finite(self.low), "high": finite(self.high)}


def finite(value: float) -> float | None:
    """A number for JSON, which has neither NaN nor infinity: ``None`` for these."""
    return float(value) if math.isfinite(value) else None
