"""A saved program, loaded; on another backend than its own when asked for."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from QEfficient import hub
from QEfficient import program as programs
from QEfficient.backends import registry
from QEfficient.backends.base import Backend
from QEfficient.build.generation_files import GENERATION_FILE
from QEfficient.cache import Cache, link_or_copy
from QEfficient.compress.record import STEPS, steps_on_host
from QEfficient.errors import UsageError
from QEfficient.records import Json, Program
from QEfficient.tasks.task import Task
from QEfficient.text.chat_files import CHAT
from QEfficient.text.facts import preprocessing_files

TOLD = ("trained", "compressed")
"""Ingredients of a key that are there to be told: what was done to the model."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A program, and what runs it.

    Attributes:
        program: It.
        backend: Opens it.
        reason: Why this backend was chosen.
        strict: Take only the compiled shapes, as a card does.
    """

    program: Program
    backend: Backend
    reason: str
    strict: bool = False


def saved_program(found: hub.ModelFiles, task: Task, keywords: dict[str, Any]) -> Opened:
    """A saved program, for the backend it was compiled for, or with its graph on the one that is asked for.

    Raises:
        UsageError: A keyword of a model load: it could not have any effect. Or a program of another task.
    """
    wanted, strict = keywords.pop("backend", None), bool(keywords.pop("strict", False))
    check = bool(keywords.pop("check", False))
    if keywords:
        raise UsageError(
            f"{found.name!r} is a saved program; it takes no keywords of a model load.",
            got=", ".join(sorted(keywords)),
            allowed="pooling (equal to the program's), backend, strict, check, and the hub's keywords",
            do="drop them, or load the original model",
        )
    program = programs.load(found.folder, check=check)
    saved = program.manifest.model.task if program.manifest.model else task.name
    if saved != task.name:
        raise UsageError(
            f"{found.name!r} is a saved program of another task.",
            got=f"a program for {saved}",
            allowed=f"a program for {task.name}",
            do="load it with the class of its task (docs: Task heads)",
        )
    backend, reason = registry.get(program.manifest.target.backend), "the saved program was compiled for it"
    if wanted not in (None, backend.name):
        backend, reason = registry.choose(wanted)
        if backend.name != program.manifest.target.backend:
            program = rehost(program, backend, Cache())
    return Opened(program, backend, reason, strict)


def rehost(program: Program, backend: Backend, cache: Cache) -> Program:
    """The same graphs and shapes, compiled for another backend; needs no torch."""
    graphs = programs.graphs_of(program)
    shapes = {name: graph.shapes for name, graph in program.manifest.graphs.items()}
    own = program.manifest.target.compute
    narrow = bool(program.manifest.int8 or program.manifest.weights) and own in backend.compute  # the graph itself is
    compute = own if narrow else backend.compute[0]
    target = dataclasses.replace(program.manifest.target, backend=backend.name, compute=compute)
    key: dict[str, Json] = {"program": dict(program.manifest.key), "target": dataclasses.asdict(target)}
    key["backend_version"] = backend.version()
    key |= _told(program, backend)
    options = program.manifest.options
    options = dataclasses.replace(options, files={name: program.path / path for name, path in options.files.items()})

    def build(workdir: Path) -> None:
        from QEfficient.onnx_transforms import describe  # imports onnx

        programs.load(program.path, check=True)  # the key and the digests stand for the graph as it was saved
        told = {name: dataclasses.replace(one, functions=describe(one.path).functions) for name, one in graphs.items()}
        made = backend.compile(told, shapes, target, options, workdir)
        config = program.manifest.model.config if program.manifest.model else None
        others = [program.path / name for name in (config, GENERATION_FILE, CHAT) if name]
        for path in (*preprocessing_files(program.path), *(path for path in others if path.is_file())):
            link_or_copy(path, workdir / path.name)
        manifest = dataclasses.replace(
            made.manifest,
            text=program.manifest.text,
            model=program.manifest.model,
            rules=program.manifest.rules,
            tables=program.manifest.tables,
            tokens=program.manifest.tokens,
            decoder=program.manifest.decoder,
            key=key,
            verify=program.manifest.verify,
            int8=program.manifest.int8 if narrow else {},
            weights=program.manifest.weights if narrow else {},
        )
        programs.write(Program(made.path, manifest), graphs)

    name = program.manifest.model.name if program.manifest.model else program.path.name
    path, _ = cache.get_or_build(name, "program", key, build)
    return programs.load(path)


def _told(program: Program, backend: Backend) -> dict[str, Json]:
    """What was done to the model and still holds on another backend."""
    found = {name: value for name, value in program.manifest.key.items() if name in TOLD}
    if backend.name in registry.HOSTS and (steps := found.pop(STEPS, None)):
        found |= {STEPS: list[Json](kept)} if (kept := steps_on_host(steps)) else {}
    return found
