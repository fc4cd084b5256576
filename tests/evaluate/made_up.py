"""Evaluations and comparisons without a model: labels drawn from a seed."""

import numpy as np

from QEfficient.evaluate.comparison.compared import compare_evaluations
from QEfficient.evaluate.comparison.record import Measured, ModelComparison
from QEfficient.evaluate.comparison.speed import Speed
from QEfficient.evaluate.metrics.catalogue import metrics_of
from QEfficient.evaluate.record import Examples, MetricValue, Outcome
from QEfficient.evaluate.result import Evaluation

EVIL = "<script>alert('x')</script>&\"{{ 7*7 }}"
LABELS = ("negative", "neutral", "positive")
NAMES = ("all-MiniLM-L6-v2", "all-MiniLM-L6-v2", "three layers", "MiniLM int8")
RAN = ("torch fp32", "onnxruntime fp32", "onnxruntime fp32", "onnxruntime int8")
ROWS = 200


def examples(rows: int = ROWS, text: str = "A film of") -> Examples:
    texts = [f"{text} {row} words" for row in range(rows)]
    return Examples("text-classification", {"text": texts, "label": [0] * rows}, digest="ab" * 32, name="reviews.csv")


def outcome(seed: int, wrong: float, rows: int = ROWS, labels: tuple[str, ...] = LABELS) -> Outcome:
    right = np.random.default_rng(0).integers(0, len(labels), rows)
    random = np.random.default_rng(seed)
    given = np.where(random.random(rows) < wrong, random.integers(0, len(labels), rows), right)
    scores = random.normal(size=(rows, len(labels))).astype(np.float32)
    scores[np.arange(rows), given] += 5
    return Outcome("text-classification", right, given, scores, labels)


def evaluation(
    seed: int = 1, wrong: float = 0.2, name: str = "tiny", ran: str = "torch fp32", **outcomes
) -> Evaluation:
    answered = outcome(seed, wrong, **outcomes)
    figures = tuple(
        MetricValue(one.name, value := one.value(answered), value - 0.02, value + 0.03, one.higher_is_better)
        for one in metrics_of(answered.task, None)
    )
    return Evaluation(
        name, ran, answered.task, figures, answered, len(answered), "ab" * 32, "reviews.csv", 0, 50, {"torch": "2.13.0"}
    )


def speed(rate: float) -> Speed:
    return Speed((rate * 0.95, rate, rate * 1.04), (1 / rate, 1.5 / rate, 2 / rate), 32, "texts")


def comparison(models: int = 4, measured: bool = True, text: str = "A film of") -> ModelComparison:
    """Some models on made-up labels; the fourth is fast and the least good."""
    evaluations = [
        evaluation(place + 1, wrong, name, ran)
        for place, (wrong, name, ran) in enumerate(zip((0.2, 0.2, 0.24, 0.3), NAMES, RAN, strict=True))
    ][:models]
    sizes = (90_900_000, 91_000_000, 52_300_000, 23_100_000)
    facts = [
        Measured(speed(rate), size, size - 1_000_000, "cut from all-MiniLM-L6-v2" if rate == 410 else None)
        for rate, size in zip((120, 203, 410, 390), sizes, strict=True)
    ][:models]
    return compare_evaluations(evaluations, facts if measured else (), examples(text=text))
