"""What the commands that write text share: the model, ready to write, and how its tokens are chosen."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from QEfficient import hub
from QEfficient.cli import models
from QEfficient.tasks.task import Task

MaxNewTokens = Annotated[
    int | None,
    typer.Option(min=1, help="Most tokens of an answer. Left out: as the repo says, else as many as fit."),
]
Temperature = Annotated[
    float | None, typer.Option(min=0, help="Draws tokens, the likelier ones less often the higher it is; 0: greedy.")
]
TopK = Annotated[int | None, typer.Option(min=0, help="Draws among so many of the likeliest tokens; 0: among all.")]
TopP = Annotated[
    float | None, typer.Option(min=0, max=1, help="Draws among the likeliest tokens that have this probability.")
]
MinP = Annotated[
    float | None,
    typer.Option(min=0, max=1, help="Draws among tokens with at least this share of the likeliest one's probability."),
]
RepetitionPenalty = Annotated[
    float | None, typer.Option(help="Above 1: tokens that were written already become less likely.")
]
Seed = Annotated[int | None, typer.Option(help="Draws tokens, with these random numbers each time.")]
Greedy = Annotated[bool, typer.Option("--greedy", help="The likeliest token each time, whatever the repo says.")]
Stop = Annotated[
    list[str] | None, typer.Option(help="A string that ends an answer and is not shown; may be given several times.")
]
JsonSchema = Annotated[
    Path | None, typer.Option(exists=True, dir_okay=False, help="A file with a JSON schema, which answers follow.")
]
CtxLen = Annotated[
    int | None,
    typer.Option(min=2, help="Positions of a prompt and its answer together. Left out: as compile does."),
]
Backend = Annotated[
    str | None, typer.Option(help="onnxruntime, openvino, qaic or emulator. Left out: as compile does.")
]
Compute = Annotated[
    str | None,
    typer.Option(help="Precision, such as int4_weights or int4_weights_int8. Left out: as compile does."),
]
_DRAWS = ("temperature", "top_k", "top_p", "min_p", "seed")


def load(name: str, task: Task, backend: str | None, asked: Mapping[str, int | str | None]) -> Any:
    """The model, compiled unless it is a saved program.

    Args:
        name: As the command was given it.
        task: Whose class it is loaded by.
        backend: As ``compile`` and ``from_pretrained`` take it.
        asked: Lengths and precision as ``compile`` takes them; ``None`` for what was left out.
    """
    given: dict[str, Any] = {keyword: value for keyword, value in asked.items() if value is not None}
    if not hub.is_program(hub.resolve(name).folder):
        model: Any = models.load(name, task.name, None)
        model.compile(backend=backend, **given)
        return model
    if given:
        option = "--" + next(iter(given)).replace("_", "-")
        what = "precision is" if "compute" in given else "lengths are"
        raise typer.BadParameter(f"{name} is a saved program: its {what} as it was compiled", param_hint=option)
    return models.load(name, task.name, None, **({} if backend is None else {"backend": backend}))


def keywords(given: Mapping[str, Any]) -> dict[str, Any]:
    """Keywords of ``generate``, ``chat`` and ``stream`` of a command's options, those left out apart.

    An option that says how tokens are drawn asks for drawing.

    Args:
        given: The command's own parameters.
    """
    same = (*_DRAWS, "max_new_tokens", "repetition_penalty")
    found: dict[str, Any] = {name: given[name] for name in same if given[name] is not None}
    draws = [name for name in _DRAWS if name in found and (name, found[name]) != ("temperature", 0)]
    if given["greedy"] and draws:
        option = "--" + draws[0].replace("_", "-")
        raise typer.BadParameter(f"{option} draws tokens, so it does not go with it", param_hint="--greedy")
    if given["greedy"]:
        found["do_sample"] = False
    elif draws:
        found["do_sample"] = True
    if given["stop"]:
        found["stop_strings"] = list(given["stop"])
    if given["json_schema"] is not None:
        found["json_schema"] = _schema(given["json_schema"])
    return found


def _schema(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:  # no JSON, or no UTF-8
        raise typer.BadParameter(f"{file} is no JSON: {error}", param_hint="--json-schema") from error
    if not isinstance(found, dict):
        raise typer.BadParameter(f"{file} holds no JSON object", param_hint="--json-schema")
    return found
