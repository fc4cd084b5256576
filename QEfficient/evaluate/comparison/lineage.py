"""What a model was trained from, in a few words, of the facts that ``fine_tune`` and ``distill`` write."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath

from QEfficient.build.subject import ModelSubject, Subject
from QEfficient.records import Json
from QEfficient.report.formatting import count


def lineage(subject: Subject) -> str | None:
    """What a model or saved program was trained from, and how long.

    Returns:
        ``None`` where nobody wrote it down.
    """
    if isinstance(subject, ModelSubject):
        return described(subject.recipe.origin.training)
    return described(subject.loaded.program.manifest.key.get("trained"))


def described(training: Json | Mapping[str, Json]) -> str | None:
    """Facts of a training as one line. They come from a file: what is missing in them is left out.

    Args:
        training: As ``QEfficient.train.record.Trained.facts`` gives them; ``None``: there are none.

    >>> described({"from": "MiniLM", "data": {"rows": 8057}, "how": {"epochs": 1.0}, "steps": 252})
    'fine-tuned from MiniLM, 1 epoch on 8057 rows'
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
    return line + (f" on {rows} row{'s' * (rows != 1)}" if isinstance(rows, int) else "")


def _mapping(value: Json) -> Mapping[str, Json]:
    return value if isinstance(value, Mapping) else {}


def _is_path(name: str) -> bool:
    return PurePath(name).is_absolute()
