"""Predicted speed of a model on its road: its config as the columns of a row, and ``compile(objective=…)``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING

from QEfficient import arguments
from QEfficient.build.buckets import lengths
from QEfficient.build.request import CompileRequest
from QEfficient.build.subject import ModelSubject, Subject
from QEfficient.errors import MissingExtraError, UsageError
from QEfficient.records import Json, Shape

if TYPE_CHECKING:
    from QEfficient.analysis.recommendation import Recommendation
    from QEfficient.analysis.record import SpeedPoint

OPTIONS = ("ols", "mos", "multicast_weights")
"""Compiler options that ``objective`` fills in, beside cores and batch, where the caller says nothing."""


def require_analysis(asked: str) -> None:
    """Refuses what needs ``QEfficient.analysis`` where an installation leaves it out; nothing else does.

    Args:
        asked: The call that needs it, for the message.

    Raises:
        MissingExtraError: It can't be imported.
    """
    try:
        import QEfficient.analysis  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(
            f"{asked} needs QEfficient.analysis, which this installation does not have.",
            got=str(error),
            allowed="an installation with all of QEfficient",
            do="pip install --force-reinstall --no-deps QEfficient",
        ) from error


def columns(subject: Subject) -> dict[str, Json]:
    """What the table of measurements says of a network, for this one.

    Raises:
        UsageError: The config is not kept, or does not say it.
    """
    from QEfficient.analysis.network import network

    if not subject.reads_text:
        raise UsageError(
            "Speed is predicted for models that read text only.",
            got="a model of images or audio",
            allowed="a model with input_ids: no other was measured",
            do="see model.analyze() for FLOPs and rooflines",
        )
    config = subject.config()
    if not config:
        raise UsageError(
            "This program does not keep its model's config, so no speed can be predicted.",
            got="a program of a bare graph",
            allowed="a model, or a program that was compiled from one",
            do="predict from a row of your own: QEfficient.analysis.predict({…})",
        )
    return network(config, subject.task.name)


def options_for_objective(request: CompileRequest, subject: ModelSubject) -> CompileRequest:
    """The request with those of cores, batch and options that its objective fills in.

    What the caller names stays as it is.
    """
    assert request.objective is not None  # it is what asks for this
    require_analysis(f"compile(objective={request.objective!r})")
    from QEfficient.analysis.recommendation import OBJECTIVES, recommend

    arguments.one_of("objective", request.objective, OBJECTIVES)
    own = {name: request.keywords[name] for name in OPTIONS if name in request.keywords}
    own |= {} if request.cores is None else {"num_cores": request.cores}
    own |= {} if request.batch is None else {"batch_size": request.batch}
    single = {name: value for name, value in own.items() if not isinstance(value, list | tuple)}  # mos=[1, 2]
    card = "pro" if (request.cores or 1) > 14 else "standard"  # what fits Standard fits every card
    limits = subject.recipe.reach
    length = lengths(request.lengths, limits, request.text)[-1] if limits.free else 1
    found = recommend(columns(subject), length, request.objective, card, given=single)
    options = dict(found.compile_options)
    cores, batch = options.pop("num_cores", None), options.pop("batch_size", None)
    return replace(
        request,
        objective=None,
        cores=cores if request.cores is None else request.cores,
        batch=batch if request.batch is None else request.batch,
        keywords={**request.keywords, **{name: value for name, value in options.items() if name not in own}},
    )


def speed_points(
    subject: Subject, buckets: Sequence[Shape], cards: Sequence[str], free_batch: bool
) -> tuple[SpeedPoint, ...]:
    """Predicted speed at each bucket on each card, with the options that are best for each objective.

    Nothing where no speed can be predicted: images, audio, a bare graph.

    Args:
        subject: Which model.
        buckets: The shapes.
        cards: Names of cards.
        free_batch: Nobody chose the buckets' batch, so the best one is taken; it stands in the options.
    """
    from QEfficient.analysis.recommendation import OBJECTIVES, recommend
    from QEfficient.analysis.recommendation import OPTIONS as ALL_OPTIONS
    from QEfficient.analysis.record import SpeedPoint

    try:
        network = columns(subject)
    except UsageError:
        return ()
    made = []
    for card, bucket, objective in product(cards, buckets, OBJECTIVES):
        given = {} if free_batch else {"batch_size": bucket.batch}
        best = recommend(network, bucket.length, objective, card, given=given)
        rate, latency = best.prediction.samples_per_second, best.prediction.latency_ms
        made.append(
            SpeedPoint(
                card=card,
                bucket=bucket,
                options={name: getattr(best, name) for name in ALL_OPTIONS},
                samples_per_second=float(rate),
                latency_ms=float(latency),
                samples_per_second_band=(rate.low, rate.high),
                latency_ms_band=(latency.low, latency.high),
                extrapolated=best.prediction.extrapolated,
                objective=objective,
            )
        )
    return tuple(made)


def recommended(subject: Subject, objective: str, seq_len: object, card: str) -> Recommendation:
    """The options that are best for a model at one length; left out, that of the longest bucket."""
    require_analysis("recommend()")
    from QEfficient.analysis.recommendation import OBJECTIVES, recommend

    arguments.one_of("objective", objective, OBJECTIVES)
    length = subject.longest() if seq_len is None else arguments.positive("seq_len", seq_len, "tokens")
    return recommend(columns(subject), length, objective, card)
