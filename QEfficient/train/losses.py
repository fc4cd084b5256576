"""Losses of modules with a head. Each is a sum over the batch's items, divided by how many there are in the whole step.

transformers' own divide some losses by that number and some by the process's own, so that several processes would train
otherwise than one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from QEfficient.train.labelled import IGNORED
from QEfficient.train.speech import ctc_sum

if TYPE_CHECKING:
    from torch import Tensor

HeadLoss = Callable[..., "Tensor"]
"""``(outputs, labels, num_items_in_batch=None) -> loss``, as transformers' ``compute_loss_func`` is called."""

SPEECH = "automatic-speech-recognition"


def head_loss(task: str, class_weights: Sequence[float] | None = None, blank: int = 0) -> HeadLoss:
    """The loss of a task: cross-entropy, of several labels the binary one, of a score the squared error, of speech CTC.

    Args:
        task: One of :data:`QEfficient.train.heads.TASKS`.
        class_weights: Of classes, a factor of each label's term. The sum is still divided by the number of items and
            not by the sum of their weights, as torch does, so that batches of other labels count alike.
        blank: Of speech, the id of no letter.
    """
    import torch
    from torch.nn import functional

    weights = None if class_weights is None else torch.tensor(class_weights)

    def classes(outputs: Any, labels: Tensor) -> Tensor:
        logits = outputs.logits.flatten(0, -2)
        own = None if weights is None else weights.to(logits)
        return functional.cross_entropy(logits, labels.flatten(), own, reduction="sum", ignore_index=IGNORED)

    def several(outputs: Any, labels: Tensor) -> Tensor:
        return functional.binary_cross_entropy_with_logits(outputs.logits, labels, reduction="sum")

    def score(outputs: Any, labels: Tensor) -> Tensor:
        return functional.mse_loss(outputs.logits.squeeze(-1), labels, reduction="sum")

    def ends(outputs: Any, labels: Tensor) -> Tensor:
        found = (outputs.start_logits, outputs.end_logits)
        return torch.stack(
            [functional.cross_entropy(logits, labels[:, end], reduction="sum") for end, logits in enumerate(found)]
        ).sum()

    sums: dict[str, Callable[[Any, Tensor], Tensor]] = {
        "multi-label": several,
        "regression": score,
        "question-answering": ends,
        SPEECH: ctc_sum(blank),
    }
    total = sums.get(task, classes)

    def loss(outputs: Any, labels: Tensor, num_items_in_batch: Any = None) -> Tensor:
        items = countable(task, labels).ne(IGNORED).sum() if num_items_in_batch is None else num_items_in_batch
        return total(outputs, labels) / items

    return loss


def countable(task: str, labels: Tensor) -> Tensor:
    """A batch's labels, of which :data:`IGNORED` ones do not count; a score may be any number, and counts.

    Args:
        task: Of speech, a row counts once, whatever its transcript is.
        labels: The batch's.
    """
    import torch

    if task == SPEECH:
        labels = labels[:, 0]
    return torch.zeros_like(labels) if labels.is_floating_point() else labels
