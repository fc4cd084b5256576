"""Which metrics each task has, and metrics by name."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from QEfficient.arguments import one_of, strings
from QEfficient.errors import UsageError, unknown
from QEfficient.evaluate.metrics.classification import ACCURACY, MACRO_F1, MACRO_F1_OF_SETS, MICRO_F1, SUBSET_ACCURACY
from QEfficient.evaluate.metrics.correlation import MAE, PEARSON, R2, RMSE, SPEARMAN
from QEfficient.evaluate.metrics.metric import Metric
from QEfficient.evaluate.metrics.questions import ANSWER_F1, EXACT_MATCH
from QEfficient.evaluate.metrics.ranking import average_precision, mrr, ndcg, precision, recall, reciprocal_rank, top
from QEfficient.evaluate.metrics.speech import CER, WER
from QEfficient.evaluate.metrics.tags import ENTITY_F1, ENTITY_PRECISION, ENTITY_RECALL, WORD_ACCURACY

_LABEL = (ACCURACY, MACRO_F1)

METRICS: Mapping[str, tuple[Metric, ...]] = {
    "similarity": (SPEARMAN, PEARSON),
    "retrieval": (ndcg(10), mrr(10), recall(100), average_precision(None)),
    "reranking": (ndcg(10), mrr(10), recall(10), average_precision(None)),
    "text-classification": _LABEL,
    "multi-label": (MICRO_F1, MACRO_F1_OF_SETS, SUBSET_ACCURACY),
    "regression": (SPEARMAN, PEARSON, MAE, RMSE, R2),
    "image-classification": _LABEL,
    "audio-classification": _LABEL,
    "token-classification": (ENTITY_F1, ENTITY_PRECISION, ENTITY_RECALL, WORD_ACCURACY),
    "question-answering": (ANSWER_F1, EXACT_MATCH),
    "fill-mask": (top(None), top(5), reciprocal_rank(None)),
    "multiple-choice": _LABEL,
    "automatic-speech-recognition": (WER, CER),
}
"""Task → its metrics, the main one first."""

_RANKING = {"ndcg": ndcg, "mrr": mrr, "recall": recall, "precision": precision, "map": average_precision}
_CUT: Mapping[str, Mapping[str, Callable[[int | None], Metric]]] = {
    "retrieval": _RANKING,
    "reranking": _RANKING,
    "fill-mask": {"accuracy": top, "mrr": reciprocal_rank},
}
"""Task → the metrics that may be cut off at a rank k, and how one is made; ``None`` is no k."""

_NEED_K = ("recall", "precision")  # without k they tell how many documents were scored, and nothing of their order


def metrics_of(task: str, names: Sequence[str] | None = None) -> tuple[Metric, ...]:
    """Metrics of a task.

    Args:
        task: A key of :data:`METRICS`.
        names: Which ones, in this order: names of :data:`METRICS`, or with another k, ``"ndcg@3"``, ``"map@100"``,
            ``"accuracy@2"`` of a masked word. ``None``: all of the task's.

    Returns:
        The first is the main one.

    Raises:
        UsageError: There is no such task, or it has no such metric, or a name is there twice.
    """
    known = METRICS[one_of("task", task, tuple(METRICS))]
    if names is None:
        return known
    found = tuple(_named(task, name) for name in strings("metrics", names))
    if len({metric.name for metric in found}) < max(len(found), 1):
        raise UsageError(
            "The metrics are none, or one of them is there twice.",
            got=f"metrics={list(names)!r}",
            allowed="each name once, at least one",
            do=f"leave metrics out for {', '.join(metric.name for metric in known)}",
        )
    return found


def _named(task: str, name: str) -> Metric:
    family, at, k = name.partition("@")
    make = _CUT.get(task, {}).get(family)
    if make and (re.fullmatch(r"[1-9]\d*", k) if at else family not in _NEED_K):
        return make(int(k) if at else None)
    fixed = {metric.name: metric for metric in METRICS[task]}
    if name in fixed:
        return fixed[name]
    families = [one if one not in _NEED_K else f"{one}@10" for one in _CUT.get(task, {}) if one not in fixed]
    raise unknown(
        UsageError,
        f"The task {task!r} has no metric {name!r}.",
        name,
        [*fixed, *families],
        argument="metrics",
        do="choose some of these" + (", with any whole number from 1 on behind the @" if task in _CUT else ""),
    )
