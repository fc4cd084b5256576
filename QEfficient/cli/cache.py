"""``qefficient cache ls | explain | verify | prune``."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from QEfficient.cache import Cache, Difference, Entry, total_bytes

app = typer.Typer(help="Look at, check and clean up compiled artefacts (QEFF_HOME).", no_args_is_help=True)

_UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_TITLES = ("model", "stage", "key", "created (UTC)", "size")
_AGES = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}

Model = Annotated[
    str | None, typer.Argument(metavar="[MODEL]", help="Only this model: its repo id, or the name in the list.")
]


def _known(cache: Cache, model: str | None) -> None:
    """A name that the cache does not hold is a mistake, not an empty answer."""
    if model is not None and not cache.entries(model):
        names = sorted({entry.model for entry in cache.entries()})
        raise typer.BadParameter(f"no model {model!r} in {cache.home}; there is {', '.join(names) or 'none'}")


@app.command()
def ls(model: Model = None, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List artefacts, oldest first."""
    cache = Cache()
    _known(cache, model)
    entries = cache.entries(model)
    if as_json:
        print(json.dumps([_as_json(entry) for entry in entries], indent=1))
        return
    rows = [[*_columns(entry), "damaged" if entry.problem else "ok"] for entry in entries]
    _print_table([*_TITLES, "state"], rows)
    print(f"{len(entries)} artefacts, {_size(total_bytes(entries))} in {cache.home}")


@app.command()
def explain(
    model: Model = None, stage: Annotated[str | None, typer.Option(help="Only this stage: onnx or program.")] = None
) -> None:
    """Say why the latest call missed: where its key differs from the nearest older one."""
    if stage not in (None, "onnx", "program"):
        raise typer.BadParameter(f"there is no stage {stage!r}: onnx or program", param_hint="--stage")
    cache = Cache()
    _known(cache, model)
    explanations = cache.explain(model, stage)
    for found in explanations:
        print(f"{found.entry.model}, stage {found.entry.stage}: {found.entry.key[:12]} is not {found.nearest.key[:12]}")
        _print_table(["ingredient", found.nearest.key[:12], found.entry.key[:12]], map(_difference, found.differences))
    if not explanations:
        print("Nothing to compare: two artefacts of one model and stage are needed.")


@app.command()
def verify(model: Model = None) -> None:
    """Read every file and compare its digest. Exit code 1 when something is damaged."""
    cache = Cache()
    _known(cache, model)
    checked = cache.verify(model)
    _print_table([*_TITLES, "state"], ([*_columns(entry), problem or "ok"] for entry, problem in checked))
    damaged = sum(problem is not None for _, problem in checked)
    print(f"{len(checked)} artefacts, {damaged} damaged")
    if damaged:
        print(
            "A damaged artefact is built again by the next call that needs it, or goes with `qefficient cache prune`."
        )
        raise typer.Exit(1)


@app.command()
def prune(
    model: Model = None,
    older_than: Annotated[str | None, typer.Option(help="Age, such as 30d, 12h or 2w.")] = None,
    max_size: Annotated[str | None, typer.Option(help="Remove the oldest until the rest fits: 20GB, 500MB.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
) -> None:
    """Remove artefacts: of a model, by age, by size, or by all of these together."""
    if model is None and older_than is None and max_size is None:
        raise typer.BadParameter("say what to remove: MODEL, --older-than or --max-size")
    before = None if older_than is None else datetime.now(UTC) - _age(older_than)
    limit = None if max_size is None else _bytes(max_size)
    cache = Cache()
    chosen = cache.prune(model, before=before, max_bytes=limit, dry_run=True)
    _print_table(_TITLES, map(_columns, chosen))
    print(f"{len(chosen)} artefacts to remove, {_size(total_bytes(chosen))}")
    if dry_run or not chosen:
        return
    if not yes:
        typer.confirm("Remove them?", abort=True)
    cache.remove(chosen)  # what was shown, whatever came since
    print(f"{len(chosen)} artefacts removed")


def _as_json(entry: Entry) -> dict[str, object]:
    return {
        "path": str(entry.path),
        "model": entry.model,
        "stage": entry.stage,
        "key": entry.key,
        "created": entry.created.isoformat(),
        "bytes": total_bytes([entry]),
        "problem": entry.problem,
        "ingredients": None if entry.envelope is None else entry.envelope.key,
        "versions": None if entry.envelope is None else entry.envelope.versions,
    }


def _columns(entry: Entry) -> list[str]:
    created = entry.created.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
    return [entry.model, entry.stage, entry.key[:12], created, _size(total_bytes([entry]))]


def _difference(found: Difference) -> list[str]:
    return [found.ingredient, found.before or "(not there)", found.after or "(not there)"]


def _print_table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    table = Table()
    for title in titles:
        table.add_column(title, overflow="fold")  # never "…": a key or a path is of use only when whole
    for row in rows:
        table.add_row(*map(escape, row))
    if table.row_count:
        Console().print(table)


def _size(count: int) -> str:
    unit = next(name for name in reversed(_UNITS) if count >= _UNITS[name] or name == "B")
    return f"{count} B" if unit == "B" else f"{count / _UNITS[unit]:.1f} {unit}"


def _bytes(text: str) -> int:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?B)", text.strip().upper())
    if match is None:
        raise typer.BadParameter(f"{text!r} is not a size; allowed: a number and one of {', '.join(_UNITS)}")
    return int(float(match[1]) * _UNITS[match[2]])


def _age(text: str) -> timedelta:
    match = re.fullmatch(r"(\d{1,6})\s*([mhdw])", text.strip().lower())
    if match is None:
        raise typer.BadParameter(f"{text!r} is not an age; allowed: a number and one of m, h, d, w")
    return timedelta(**{_AGES[match[2]]: int(match[1])})
