"""Predicted speed of a model on its road: its config as the columns of a row, and ``compile(objective=…)``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from QEfficient import arguments
from QEfficient.build import request
from QEfficient.errors import UsageError
from QEfficient.records import Bucket, Json, TextFacts
from QEfficient.source.recipe import reach

if TYPE_CHECKING:
    from QEfficient.analysis.recommendation import Recommendation
    from QEfficient.analysis.record import SpeedPoint
    from QEfficient.inference.loaded_program import LoadedProgram
    from QEfficient.source.recipe import Recipe

FILLED = ("num_cores", "batch_size", "ols", "mos", "multicast_weights")
"""What ``objective`` fills in where the caller says nothing."""


class Unset(int):
    """The default of a keyword, told from the same number given by a caller."""


def columns(recipe: Recipe | None, loaded: LoadedProgram | None) -> dict[str, Json]:
    """What the table of measurements says of a network, for this one.

    Raises:
        UsageError: The config is not kept, or does not say it.
    """
    from QEfficient.analysis.network import network

    if not _reads_text(recipe, loaded):
        raise UsageError(
            "Speed is predicted for models that read text only.",
            got="a model of images or audio",
            allowed="a model with input_ids: no other was measured",
            do="see model.analyze() for FLOPs and rooflines",
        )
    if recipe is not None:
        return network(recipe.origin.config(), recipe.task.name)
    facts = loaded.program.manifest.model if loaded is not None else None
    if loaded is None or facts is None or facts.config is None:
        raise UsageError(
            "This program does not keep its model's config, so no speed can be predicted.",
            got="a program of a bare graph",
            allowed="a model, or a program that was compiled from one",
            do="predict from a row of your own: QEfficient.analysis.predict({…})",
        )
    config = json.loads((loaded.program.path / facts.config).read_text(encoding="utf-8"))
    return network(config, facts.task)


def _reads_text(recipe: Recipe | None, loaded: LoadedProgram | None) -> bool:
    if recipe is not None:
        return recipe.architecture.inputs is None
    return loaded is not None and any(spec.name == "input_ids" for spec in loaded.program.manifest.inputs)


def settle(objective: str | None, recipe: Recipe, asked: Mapping[str, Json], seq_len: int) -> dict[str, Json]:
    """``compile``'s options with those that an objective fills in.

    Args:
        objective: ``None`` leaves all as it is.
        recipe: Which model.
        asked: The caller's options, ``num_cores`` and ``batch_size`` among them; an :class:`Unset` is none of his.
        seq_len: Tokens of the longest bucket.
    """
    plain = {name: _plain(value) for name, value in asked.items()}
    if objective is None:
        return plain
    from QEfficient.analysis.recommendation import check_objective, recommend

    check_objective(objective)
    own = {name: plain[name] for name in FILLED if name in asked and not isinstance(asked[name], Unset)}
    single = {name: value for name, value in own.items() if not isinstance(value, list | tuple)}  # mos=[1, 2]
    cores = own.get("num_cores", 1)
    card = "pro" if isinstance(cores, int) and cores > 14 else "standard"  # what fits Standard fits every card
    found = recommend(columns(recipe, None), seq_len, objective, card, given=single)
    return plain | {name: value for name, value in found.compile_options.items() if name not in own}


def _plain(value: Json) -> Json:
    """A whole number of any library as an int."""
    number = arguments.whole(value)
    return value if number is None else number


def speed_points(
    recipe: Recipe | None,
    loaded: LoadedProgram | None,
    buckets: Sequence[Bucket],
    cards: Sequence[str],
    free_batch: bool,
) -> tuple[SpeedPoint, ...]:
    """Predicted speed at each bucket on each card, with the options that are best for each objective.

    Nothing where no speed can be predicted: images, audio, a bare graph.

    Args:
        recipe: Which model; ``None`` for a saved program.
        loaded: The program, where one is compiled.
        buckets: The shapes.
        cards: Names of cards.
        free_batch: Nobody chose the buckets' batch, so the best one is taken; it stands in the options.
    """
    from QEfficient.analysis.recommendation import OBJECTIVES, OPTIONS, recommend
    from QEfficient.analysis.record import SpeedPoint

    try:
        network = columns(recipe, loaded)
    except UsageError:
        return ()
    made = []
    for card in cards:
        for bucket in buckets:
            given = {} if free_batch else {"batch_size": bucket.batch}
            for objective in OBJECTIVES:
                best = recommend(network, bucket.length, objective, card, given=given)
                rate, latency = best.prediction.samples_per_second, best.prediction.latency_ms
                made.append(
                    SpeedPoint(
                        card=card,
                        bucket=bucket,
                        options={name: getattr(best, name) for name in OPTIONS},
                        samples_per_second=float(rate),
                        latency_ms=float(latency),
                        samples_per_second_band=(rate.low, rate.high),
                        latency_ms_band=(latency.low, latency.high),
                        extrapolated=best.prediction.extrapolated,
                        objective=objective,
                    )
                )
    return tuple(made)


def recommended(
    recipe: Recipe | None,
    loaded: LoadedProgram | None,
    text: TextFacts | None,
    objective: str,
    seq_len: object,
    card: str,
) -> Recommendation:
    """The options that are best for a model at one length; left out, that of the longest bucket."""
    from QEfficient.analysis.recommendation import check_objective, recommend

    check_objective(objective)
    network = columns(recipe, loaded)
    if seq_len is not None:
        length = arguments.positive("seq_len", seq_len, "tokens")
    elif loaded is not None:
        length = loaded.program.manifest.buckets[-1].length
    else:
        assert recipe is not None and text is not None  # without a program there is a model
        length = request.longest(None, reach(recipe.origin), text)
    return recommend(network, length, objective, card)
