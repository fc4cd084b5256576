"""What a model was trained from, what came of it, and how it was made smaller, in a line, as it was written down."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath

from QEfficient.build.subject import ModelSubject, Subject
from QEfficient.compress.record import steps_of, told_of
from QEfficient.records import Json
from QEfficient.report.formatting import count


def lineage(subject: Subject) -> str | None:
    """What a model or saved program was trained from, how long, its main metric before and after, and what came then.

    Returns:
        ``None`` where nobody wrote it down.
    """
    key = {} if subject.loaded is None else subject.loaded.program.manifest.key
    if isinstance(subject, ModelSubject):
        training: Json | Mapping[str, Json] = subject.recipe.origin.training
        steps: object = key.get("compressed") or steps_of(subject.config())
    else:
        training, steps = key.get("trained"), key.get("compressed")
    return "; ".join(filter(None, [described(training), *told_of(steps)])) or None


def described(training: Json | Mapping[str, Json]) -> str | None:
    """Facts of a training as one line. They come from a file: what is missing in them is left out.

    Args:
        training: As ``QEfficient.train.record.Trained.facts`` gives them; ``None``: there are none.

    >>> facts = {"from": "MiniLM", "data": {"rows": 8057}, "how": {"epochs": 1.0}, "steps": 252}
    >>> described(facts)
    'fine-tuned from MiniLM, 1 epoch on 8057 rows'
    >>> described(facts | {"metrics": [{"name": "accuracy", "before": {"value": 0.5}, "after": {"value": 0.85}}]})
    'fine-tuned from MiniLM, 1 epoch on 8057 rows, accuracy 0.500 to 0.850'
    """
    if not isinstance(training, Mapping) or not isinstance(training.get("from"), str):
        return None
    data, how = (_mapping(training.get(name)) for name in ("data", "how"))
    name = str(training["from"])
    line = (
        f"{'distilled' if how.get('teacher') else 'fine-tuned'} from {PurePath(name).name if _is_path(name) else name}"
    )
    rows, epochs, steps = data.get("rows"), how.get("epochs"), training.get("steps")
    if how.get("max_steps") is None and isinstance(epochs, int | float):
        line += f", {epochs:g} epoch{'s' * (epochs != 1)}"
    elif isinstance(steps, int):
        line += f", {count(steps, 'step')}"
    line += f" on {rows} row{'s' * (rows != 1)}" if isinstance(rows, int) else ""
    return line + _gain(training.get("metrics"), data.get("held_out_rows"))


def _gain(metrics: Json, rows: Json) -> str:
    """The main metric on held-out rows, before and after."""
    first = _mapping(metrics[0]) if isinstance(metrics, list) and metrics else {}
    figures = [_mapping(first.get(when)).get("value") for when in ("before", "after")]
    if not isinstance(first.get("name"), str) or not all(isinstance(one, int | float) for one in figures):
        return ""
    where = f" ({rows} held out)" if isinstance(rows, int) else ""
    return f", {first['name']} {figures[0]:.3f} to {figures[1]:.3f}{where}"


def _mapping(value: Json) -> Mapping[str, Json]:
    return value if isinstance(value, Mapping) else {}


def _is_path(name: str) -> bool:
    return PurePath(name).is_absolute()
