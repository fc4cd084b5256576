"""What the commands about one model share: how it is named, how it is loaded, and a file of texts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import QEfficient
from QEfficient import hub
from QEfficient import program as programs
from QEfficient.tasks.catalogue import FEATURE_EXTRACTION, TASKS

if TYPE_CHECKING:
    from QEfficient.auto.base import QEFFTransformersBase

Model = Annotated[str, typer.Argument(metavar="MODEL", help="Hub id, folder, or folder of a saved program.")]
TaskOption = Annotated[str, typer.Option("--task", help=f"One of: {', '.join(TASKS)}.")]
Pooling = Annotated[
    str | None, typer.Option(help="A pooling's name. Left out: as the repo's modules.json says, if it has one.")
]
SeqLen = Annotated[
    str | None, typer.Option(help="Tokens of the buckets, such as 32,64,128. Left out: as compile does.")
]
Texts = Annotated[
    Path | None,
    typer.Option(exists=True, dir_okay=False, help="A UTF-8 file with one text a line; empty ones are skipped."),
]


def load(name: str, task: str, pooling: str | None, **keywords: Any) -> QEFFTransformersBase:
    """The model, by the class of its task, with keywords of ``from_pretrained``; weights are read when first needed."""
    if task not in TASKS:
        raise typer.BadParameter(f"there is no task {task!r}: {', '.join(TASKS)}", param_hint="--task")
    made = getattr(QEfficient, TASKS[task].class_name)
    if not TASKS[task].pools:
        if pooling is not None:
            raise typer.BadParameter(f"models for {task} are not pooled", param_hint="--pooling")
        model: QEFFTransformersBase = made.from_pretrained(name, **keywords)
        return model
    if pooling is None and (hub.resolve(name).folder / "modules.json").is_file():
        pooling = "auto"
    model = made.from_pretrained(name, pooling=pooling, **keywords)
    return model


def ready(name: str, backend: str | None, seq_len: str | None, pooling: str | None) -> QEFFTransformersBase:
    """The model by the class that it was made for, compiled unless it is a saved program or is to run in torch."""
    task = task_of(name)
    model = load(name, task, pooling)
    if model.program_path is not None:
        if seq_len is not None:
            raise typer.BadParameter(f"{name} is a saved program: its lengths are as they were compiled")
    elif backend == "torch":
        if seq_len is not None:
            raise typer.BadParameter("HuggingFace's own model has no compiled lengths", param_hint="--seq-len")
    else:
        model.compile(seq_len=lengths(seq_len), backend=backend)
    return model


def task_of(name: str) -> str:
    """What a model is for: as its program's manifest says, else by the head that its config names."""
    folder = hub.resolve(name).folder
    if hub.is_program(folder):
        facts = programs.load(folder).manifest.model
        return FEATURE_EXTRACTION.name if facts is None else facts.task
    modules = folder / "modules.json"
    if modules.is_file() and ".Pooling" in modules.read_text(encoding="utf-8"):  # whatever head it was trained with
        return FEATURE_EXTRACTION.name
    classes = hub.read_config(folder).get("architectures") or ()
    heads = {task.auto_class.removeprefix("AutoModel"): name for name, task in TASKS.items() if not task.pools}
    return next((heads[head] for head in heads for one in classes if one.endswith(head)), FEATURE_EXTRACTION.name)


def lengths(text: str | None) -> list[int] | None:
    """``"32,64"`` → ``[32, 64]``."""
    if text is None:
        return None
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a list of numbers such as 32,64", param_hint="--seq-len") from None


def lines(file: Path | None) -> list[str] | None:
    """The texts of a file that ``--texts`` names."""
    return None if file is None else lines_of(file, "--texts")


def lines_of(file: Path, option: str) -> list[str]:
    """The texts of a file, one a line, without empty ones."""
    try:
        found = [line for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise typer.BadParameter(f"{file} is not UTF-8: {error}", param_hint=option) from error
    if not found:
        raise typer.BadParameter(f"{file} holds no text", param_hint=option)
    return found
