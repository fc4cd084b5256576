"""How far a student is from its teacher: of vectors, of logits, and of the ends of answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from QEfficient.train.distill_request import COSINE, ERROR, SIMILARITY, DistillRequest
from QEfficient.train.labelled import IGNORED

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor, nn

_SMALL = 1e-12
_NEVER = -1e5
"""A logit whose probability is 0 beside any other, and that stays finite, as -Inf less itself does not."""


def vector_terms(own: Tensor, teachers: Tensor) -> dict[str, Tensor]:
    """The terms by which a batch of vectors differs from the teacher's; each is 0 where they are equal.

    - ``cosine``: the mean of 1 - cosine of a text's two vectors;
    - ``mse``: their squared distances together, over the teacher's squared lengths together;
    - ``similarity``: the mean squared difference of the cosines of two texts, over all pairs of the batch (as the
      "similarity-preserving" loss of F. Tung and G. Mori, ICCV 2019, without its norm a row).

    Args:
        own: The student's, ``(rows, dim)``.
        teachers: The teacher's, likewise.
    """
    import torch
    from torch.nn import functional

    ours, theirs = functional.normalize(own, dim=-1), functional.normalize(teachers, dim=-1)
    rows = len(own)
    apart = ~torch.eye(rows, dtype=torch.bool, device=own.device)
    between = (ours @ ours.T - theirs @ theirs.T)[apart]
    return {
        COSINE: (1 - (ours * theirs).sum(dim=-1)).mean(),
        ERROR: (own - teachers).square().sum() / teachers.square().sum().clamp(min=_SMALL),
        SIMILARITY: between.square().sum() / max(rows * (rows - 1), 1),
    }


def vector_loss(model: Any, teachers: NDArray[np.float32], weights: Mapping[str, float]) -> nn.Module:
    """A loss as sentence-transformers' trainer calls it; a row's label is the place of its text among the teacher's.

    Args:
        model: The student, a ``SentenceTransformer``.
        teachers: The teacher's vectors, ``(texts, dim)``; read a batch at a time.
        weights: Term → how much it counts.
    """
    import torch
    from torch import nn

    class VectorLoss(nn.Module):
        """See :func:`vector_loss`."""

        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, sentence_features: Any, labels: Tensor) -> dict[str, Tensor]:
            own = self.model(next(iter(sentence_features)))["sentence_embedding"]
            wanted = torch.from_numpy(teachers[labels.cpu().numpy()]).to(own)
            return {name: weights[name] * term for name, term in vector_terms(own, wanted).items() if weights[name]}

    return VectorLoss()


def logits_term(own: Tensor, teachers: Tensor, kind: str, temperature: float) -> Tensor:
    """How far logits are from the teacher's, a mean over the rows; 0 where they are equal.

    Args:
        own: The student's, ``(rows, labels)``.
        teachers: The teacher's, likewise.
        kind: ``"one"`` label a row: the Kullback-Leibler divergence of the softmax of logits / temperature, times its
            square, so that gradients keep their size (G. Hinton, O. Vinyals, J. Dean: Distilling the knowledge in a
            neural network, 2015, section 2). ``"several"``: likewise with a sigmoid a label, summed over labels.
            ``"number"``: the squared error.
        temperature: Above 1 the small probabilities count more.
    """
    from torch.nn import functional

    if kind == "number":
        return functional.mse_loss(own, teachers)
    own, teachers = own / temperature, teachers / temperature
    if kind == "several":
        target = teachers.sigmoid()
        cross = functional.binary_cross_entropy_with_logits
        apart = cross(own, target, reduction="sum") - cross(teachers, target, reduction="sum")
        return apart / len(own) * temperature**2
    logs = own.log_softmax(dim=-1), teachers.log_softmax(dim=-1)
    return functional.kl_div(*logs, reduction="batchmean", log_target=True) * temperature**2


def ends_term(own: Tensor, teachers: Tensor, mask: Tensor, temperature: float) -> Tensor:
    """How far the ends of answers are from the teacher's: the Kullback-Leibler divergence over a window's tokens.

    It is that of :func:`logits_term`, of one token of a window; the mean over windows and both ends.

    Args:
        own: The student's logits, ``(windows, tokens, 2)``: of the first token of an answer, and of its last.
        teachers: The teacher's, likewise.
        mask: 1 for tokens, 0 for padding, ``(windows, tokens)``.
        temperature: As there.
    """
    ours, theirs = (_of_ends(logits, mask, temperature) for logits in (own, teachers))
    return logits_term(ours, theirs, "one", temperature)


def _of_ends(logits: Tensor, mask: Tensor, temperature: float = 1.0) -> Tensor:
    """Logits as ``(windows * 2, tokens)``; padding has no probability, at this temperature either."""
    filled = logits.masked_fill(~mask.bool()[..., None], _NEVER * max(temperature, 1.0))
    return filled.transpose(1, 2).flatten(0, 1)


def ends_terms(request: DistillRequest) -> Callable[..., Tensor]:
    """The loss of question answering, as :func:`head_terms` has it of other heads.

    Args:
        request: How to distill.

    Returns:
        ``(logits, teacher's logits, labels or None, attention mask) -> loss``; labels are first and last token of the
        answer, ``(windows, 2)``.
    """
    from torch.nn import functional

    def loss(own: Tensor, theirs: Tensor, labels: Tensor | None, mask: Tensor) -> Tensor:
        taught = ends_term(own, theirs.to(own), mask, request.temperature)
        if labels is None:
            return taught
        right = functional.cross_entropy(_of_ends(own, mask), labels.flatten())
        return request.alpha * taught + (1 - request.alpha) * right

    return loss


def head_terms(config: Any, request: DistillRequest, per_token: bool) -> Callable[..., Tensor]:
    """The loss of a head: the teacher's share, and that of the labels where there are some.

    Args:
        config: The student's, in transformers' form; it tells what the logits are.
        request: How to distill.
        per_token: Whether there are logits a token. Those of padding do not count, nor tokens whose label is none.

    Returns:
        ``(logits, teacher's logits, labels or None, attention mask) -> loss``.
    """
    from torch.nn import functional

    kind = "one"
    if config.num_labels == 1:
        kind = "number"
    elif getattr(config, "problem_type", None) == "multi_label_classification":
        kind = "several"

    def of_labels(own: Tensor, labels: Tensor) -> Tensor:
        if kind == "number":
            return functional.mse_loss(own.squeeze(-1), labels)
        if kind == "several":
            return functional.binary_cross_entropy_with_logits(own, labels, reduction="sum") / len(own)
        return functional.cross_entropy(own, labels)

    def loss(own: Tensor, theirs: Tensor, labels: Tensor | None, mask: Tensor) -> Tensor:
        if per_token:
            counts = mask.bool() if labels is None else labels.ne(IGNORED)
            own, theirs = own[counts], theirs[counts]
            labels = None if labels is None else labels[counts]
        taught = logits_term(own, theirs.to(own), kind, request.temperature)
        if labels is None:
            return taught
        return request.alpha * taught + (1 - request.alpha) * of_labels(own, labels)

    return loss
