"""A comparison as one table, one row a model: for a page, for Markdown, as a data frame."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from QEfficient.errors import MissingExtraError
from QEfficient.evaluate.drawn import words
from QEfficient.report.formatting import count

if TYPE_CHECKING:
    from QEfficient.evaluate.comparison.record import ComparedModel, ModelComparison
    from QEfficient.evaluate.metrics.significance import PairedDifference


def columns(comparison: ModelComparison) -> tuple[str, ...]:
    """Heads of :func:`rows`; a column of which nothing is known is left out."""
    return tuple(head for head, _ in _filled(comparison))


def rows(comparison: ModelComparison) -> tuple[tuple[str, ...], ...]:
    """One row a model, each cell on one line."""
    found = [column for _, column in _filled(comparison)]
    return tuple(zip(*found, strict=True))


def _filled(comparison: ModelComparison) -> list[tuple[str, tuple[str, ...]]]:
    all_columns = [(head, tuple(column)) for head, column in _columns(comparison)]
    return [(head, column) for head, column in all_columns if any(column)]


def _columns(comparison: ModelComparison) -> Iterator[tuple[str, Iterator[str]]]:
    models = comparison.models
    yield "model", (one.name for one in models)
    yield "ran", (one.ran for one in models)
    yield "made from", (one.measured.lineage or "" for one in models)
    for place, figure in enumerate(models[0].metrics):
        yield words.metric_name(figure), (words.with_interval(one.metrics[place]) for one in models)
        yield f"difference in {figure.name}", (" ".join(words.difference(one, figure.name)) for one in models)
    yield "changed", (words.changed(one) for one in models)
    yield f"{words.unit(comparison.models)}/s", (_rate(one) for one in models)
    yield "p50 of one", (words.latency(one) for one in models)
    yield "on disk", (words.bytes_of(one.measured.disk) for one in models)
    yield "weights", (words.bytes_of(one.measured.memory) for one in models)
    yield "front", (words.FRONT if one.front else "" for one in models)


def _rate(model: ComparedModel) -> str:
    known = words.rate(model)
    return f"{known[0]} ({known[1]})" if known else ""


def about(comparison: ModelComparison) -> tuple[str, ...]:
    """What was run, on what, and with what: the lines below the table."""
    ran = f"{comparison.task} on {comparison.data}: {count(comparison.rows, 'row')}, SHA-256 {comparison.digest[:16]}."
    lines = [ran, intervals(comparison.resamples, comparison.seed)]
    if len(comparison) > 1:
        lines.append(
            "Differences are to the first row, of the same rows; their intervals are Agresti and Min's of such shares, "
            "else t's of the resamples; p is corrected for the number of models (Holm)."
        )
    if any(one.gained is not None for one in comparison.models):
        lines.append("+ and − are rows that the first model had wrong and this one has right, and the other way round.")
    if any(one.front for one in comparison.models):
        both = f"{comparison.models[0].metrics[0].name} and {words.unit(comparison.models)}/s"
        lines.append(
            f"{words.FRONT} is the Pareto front: no model is at least as good in both {both}, and better in one."
        )
    if comparison.machine:
        lines.append(f"{comparison.machine}; {count(comparison.cpus, 'CPU')}.")
    return (*lines, *versions(comparison.versions))


def intervals(resamples: int, seed: int) -> str:
    """How the intervals of the metrics were found, as a sentence."""
    return f"95 % intervals: Wilson's of shares of right rows, else bootstrap ({resamples:,} resamples, seed {seed})."


def versions(known: Mapping[str, str]) -> list[str]:
    """A line of packages; none where nothing is known."""
    return [", ".join(f"{name} {version}" for name, version in known.items())] if known else []


def markdown(comparison: ModelComparison) -> str:
    """As GitHub and others draw it."""
    heads = columns(comparison)
    lines = [_line(heads), _line(["---"] * len(heads)), *map(_line, rows(comparison))]
    return "\n".join([*lines, "", "  \n".join(map(_escaped, about(comparison)))])


def _line(column: Sequence[str]) -> str:
    return "| " + " | ".join(map(_escaped, column)) + " |"


def _escaped(cell: str) -> str:
    text = " ".join(cell.split())
    for mark in "\\|<*_`":
        text = text.replace(mark, "\\" + mark)
    return text


def frame(comparison: ModelComparison) -> Any:
    """As a pandas ``DataFrame``.

    Raises:
        MissingExtraError: pandas is not installed.
    """
    try:
        import pandas as pd
    except ModuleNotFoundError as error:
        if error.name != "pandas":
            raise
        raise MissingExtraError(
            "pandas is not installed.",
            got="no package pandas",
            allowed="pandas",
            do='pip install "QEfficient[evaluate]"',
        ) from error
    names = pd.Index([one.name for one in comparison.models], name="model")
    return pd.DataFrame([_record(one) for one in comparison.models], index=names)


def _record(model: ComparedModel) -> dict[str, Any]:
    """A model's numbers, flat."""
    found: dict[str, Any] = {"ran": model.ran, "lineage": model.measured.lineage}
    for figure in model.metrics:
        found |= {
            figure.name: figure.value,
            f"{figure.name}_low": figure.low,
            f"{figure.name}_high": figure.high,
            **_flat(figure.name, model.differences.get(figure.name), model.adjusted.get(figure.name, math.nan)),
        }
    speed = model.measured.speed
    low, high = (math.nan, math.nan) if speed is None else speed.quartiles
    return found | {
        "gained": model.gained,
        "lost": model.lost,
        "disk_bytes": model.measured.disk,
        "weight_bytes": model.measured.memory,
        "rows_per_second": math.nan if speed is None else speed.rate,
        "rows_per_second_low": low,
        "rows_per_second_high": high,
        "p50_seconds": math.nan if speed is None else speed.p50,
        "front": model.front,
    }


def _flat(name: str, found: PairedDifference | None, adjusted: float) -> dict[str, float]:
    ends = (math.nan, math.nan, math.nan) if found is None else (found.value, found.low, found.high)
    heads = (f"{name}_difference", f"{name}_difference_low", f"{name}_difference_high")
    return {**dict(zip(heads, ends, strict=True)), f"{name}_p_holm": adjusted}
