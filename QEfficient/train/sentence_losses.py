"""sentence-transformers' losses, by the names of their classes, and those that fit a form of rows."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Mapping
from typing import Any

from QEfficient import settings
from QEfficient.errors import InputError, OptionError, unknown
from QEfficient.train.pairs import LABELLED, PAIRS, SCORED, TRIPLETS, Columns
from QEfficient.train.request import TrainRequest

log = logging.getLogger("QEfficient")

DEFAULTS: Mapping[str, str] = {
    PAIRS: "MultipleNegativesRankingLoss",
    TRIPLETS: "MultipleNegativesRankingLoss",
    SCORED: "CoSENTLoss",
    LABELLED: "BatchAllTripletLoss",
}
"""Form of the rows → the loss that is taken when none is named."""

_FITS: Mapping[str, tuple[str, ...]] = {
    "MultipleNegativesRankingLoss": (PAIRS, TRIPLETS),
    "CachedMultipleNegativesRankingLoss": (PAIRS, TRIPLETS),
    "MultipleNegativesSymmetricRankingLoss": (PAIRS, TRIPLETS),
    "CachedMultipleNegativesSymmetricRankingLoss": (PAIRS, TRIPLETS),
    "MegaBatchMarginLoss": (PAIRS,),
    "TripletLoss": (TRIPLETS,),
    "CoSENTLoss": (SCORED,),
    "AnglELoss": (SCORED,),
    "CosineSimilarityLoss": (SCORED,),
    "ContrastiveLoss": (SCORED,),
    "OnlineContrastiveLoss": (SCORED,),
    "BatchAllTripletLoss": (LABELLED,),
    "BatchHardTripletLoss": (LABELLED,),
    "BatchSemiHardTripletLoss": (LABELLED,),
    "BatchHardSoftMarginTripletLoss": (LABELLED,),
}
"""Loss → the forms that it takes; of the others sentence-transformers' documentation says it."""

_GATHERS = "gather_across_devices"
"""With this argument a loss takes the rows of every process's batch for negatives, as one process would."""

_OF_A_BATCH = (
    *("CoSENTLoss", "AnglELoss", "OnlineContrastiveLoss", "MegaBatchMarginLoss"),
    *("BatchAllTripletLoss", "BatchHardTripletLoss", "BatchSemiHardTripletLoss", "BatchHardSoftMarginTripletLoss"),
)
"""Losses that compare the rows of a batch with each other, and can't gather those of other processes."""

_BETWEEN = {"CosineSimilarityLoss": (-1.0, 1.0), "ContrastiveLoss": (0.0, 1.0), "OnlineContrastiveLoss": (0.0, 1.0)}
"""Loss → the least and the greatest score that it can reach."""


def embedding_loss(request: TrainRequest, model: Any, form: str, columns: Columns) -> Any:
    """The loss of an embedding model.

    Args:
        request: Names it, or is a function that makes it of the model.
        model: The ``SentenceTransformer``.
        form: Of the rows.
        columns: Theirs.

    Raises:
        OptionError: The name is unknown, or the loss takes rows of another form.
        InputError: Scores are beyond what the loss can reach.
    """
    from sentence_transformers.sentence_transformer import losses

    if callable(request.loss):
        return request.loss(model)
    name = request.loss or DEFAULTS[form]
    made = _made(name, losses, model)
    if form not in _FITS.get(name, (form,)):
        raise OptionError(
            f"{name} takes rows of another form.",
            got=f"loss={name!r} with {form}",
            allowed=", ".join(loss for loss, forms in _FITS.items() if form in forms),
            do="choose one of these, or read the rows for another task",
        )
    least, most = _BETWEEN.get(name, (float("-inf"), float("inf")))
    for row, score in enumerate(columns.get("score", ())):
        if not least <= score <= most:
            raise InputError(
                f"{name} takes scores from {least:g} to {most:g}.",
                got=f"{score} in row {row}",
                allowed=f"scores from {least:g} to {most:g}",
                do="scale the scores, or choose CoSENTLoss, which looks at their order only",
            )
    return made


def warn_of_own_batches(loss: Any) -> None:
    """Says, once for all processes, that a loss compares the rows of each process among themselves.

    Args:
        loss: As :func:`embedding_loss` made it.
    """
    name, processes = type(loss).__name__, settings.training_processes()
    if processes > 1 and settings.training_rank() == 0 and name in _OF_A_BATCH:
        log.warning(
            "%s compares the rows of a batch with each other: each of the %d processes does so with its own rows only. "
            "One process with %d times the batch_size would learn otherwise.",
            name,
            processes,
            processes,
        )


def reranker_loss(request: TrainRequest, model: Any) -> Any:
    """The loss of a ``CrossEncoder`` on pairs with labels.

    Raises:
        OptionError: The name is unknown.
    """
    from sentence_transformers.cross_encoder import losses

    if callable(request.loss):
        return request.loss(model)
    return _made(request.loss or "BinaryCrossEntropyLoss", losses, model)


def _made(name: str, losses: Any, model: Any) -> Any:
    known = [one for one in losses.__all__ if one.endswith("Loss")]
    if name not in known:
        what = f"sentence-transformers has no loss {name!r} for this kind of model."
        raise unknown(OptionError, what, name, known, argument="loss", do="choose one of these, or pass a function")
    kind = getattr(losses, name)
    parameters = inspect.signature(kind.__init__).parameters  # a class that is deprecated has another one
    _, _, *others = parameters.values()
    needed = [one.name for one in others if one.default is one.empty and one.kind is one.POSITIONAL_OR_KEYWORD]
    if needed:
        raise OptionError(
            f"{name} can't be made of a model alone.",
            got=f"loss={name!r}, which also takes {', '.join(needed)}",
            allowed="a loss with defaults for all but the model, or a function model -> loss",
            do=f"pass loss=lambda model: losses.{name}(model, …)",
        )
    gathers = settings.training_processes() > 1 and _GATHERS in parameters
    return kind(model, **({_GATHERS: True} if gathers else {}))
