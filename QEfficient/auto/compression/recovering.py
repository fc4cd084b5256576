"""How a pruned model recovers: it learns from the model that it was pruned from, which has all its units.

That is a distilling with the pruned copy as the student: of a head, ½ Kullback-Leibler divergence of both models'
probabilities + ½ cross-entropy of the labels, where there are some; of vectors, their distance.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from QEfficient.errors import OptionError, UsageError
from QEfficient.evaluate.record import Examples
from QEfficient.train.distill_request import DistillRequest, parse_distill_request

if TYPE_CHECKING:
    from QEfficient.auto.compression.measuring import MeasuredModel
    from QEfficient.train.record import Trained

_DEFAULTS: Mapping[str, Any] = {"batch_size": 32, "learning_rate": 1e-4}
"""Where a recovery differs from a distilling: what is left of the model is nearer to where it goes."""

_OF_PRUNE = ("output_dir", "seed")


def parse_recovery(given: object, seed: int) -> DistillRequest | None:
    """A caller's ``recover`` as a request; ``None`` without one.

    Args:
        given: ``True``, ``False``, or keywords of ``distill``.
        seed: That of ``prune``.

    Raises:
        OptionError: It is none of these, or a keyword is unknown or out of range.
    """
    if given is None or given is False:
        return None
    if given is not True and not isinstance(given, Mapping):
        raise OptionError(
            "This is no recovery.",
            got=f"recover={given!r}",
            allowed="True, False, or a mapping of keywords of distill",
            do='pass one of these, such as recover={"max_steps": 300}',
        )
    keywords = dict(given) if isinstance(given, Mapping) else {}
    for name in _OF_PRUNE:
        if name in keywords:
            raise OptionError(
                f"{name} is a keyword of prune itself.",
                got=f"recover={{{name!r}: …}}",
                allowed=f"prune(…, {name}=…)",
                do=f"take {name} out of recover",
            )
    return parse_distill_request({**_DEFAULTS, "seed": seed, **keywords})


def check_recovery(task: str, vectors: bool) -> None:
    """Refuses a recovery for which there is no distilling, before anything is done.

    Args:
        task: Of the rows.
        vectors: Whether it is an embedding model.

    Raises:
        UsageError: It is refused.
    """
    from QEfficient.train.distill_heads import TASKS

    known = (*TASKS, "reranking")
    if not vectors and task not in known:
        raise UsageError(
            f"A model for {task} has nothing to recover by: no such models are distilled.",
            got=f"recover for {task!r}",
            allowed=f"embedding models, and rows for {', '.join(known[:-1])} or {known[-1]}",
            do="leave recover out, and call fine_tune on what prune gives",
        )


def recover(
    teacher: MeasuredModel, student: MeasuredModel, rows: tuple[Examples, Examples | None], request: DistillRequest
) -> Trained:
    """Trains the pruned copy in place.

    Args:
        teacher: The model that it was pruned from.
        student: The pruned copy.
        rows: To learn from, and those that are held out.
        request: How, and in which folder.
    """
    from QEfficient.train.distill import distill_embeddings
    from QEfficient.train.distill_heads import distill_head

    data, held_out = rows
    if teacher.head is not None:
        return distill_embeddings(teacher.model, teacher.head, student.model, data, held_out, request)
    likewise = held_out if held_out is not None and held_out.task == data.task else None  # what a loss is told of
    return distill_head(teacher.model, student.model, data, likewise, request)
