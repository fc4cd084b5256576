"""From a checked graph to a program: quantised where that was asked for, compiled, and checked again as it was made."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from QEfficient.build.check import check_made, check_program, runs_itself
from QEfficient.build.int8 import int8_stage
from QEfficient.cache import Cache
from QEfficient.records import MODEL, Json, OnnxModel, Program

if TYPE_CHECKING:
    from QEfficient.build.request import CompileRequest
    from QEfficient.source.recipe import Recipe


def make(
    recipe: Recipe, request: CompileRequest, model: OnnxModel, workdir: Path, cache: Cache
) -> tuple[Program, OnnxModel, Mapping[str, Json]]:
    """The program, the graph that it was compiled from, and what its check found.

    Raises:
        VerificationError: A limit does not hold.
        CompileError: The backend refuses the graph.
    """
    verified = check_program(recipe, request, model)  # first: a card's compiler takes minutes
    table: dict[str, Json] = {}
    graph = model
    if request.target.compute == "int8":
        graph, table = int8_stage(recipe, request, model, cache)
    made = request.backend.compile({MODEL: graph}, {MODEL: request.buckets}, request.target, request.options, workdir)
    made = dataclasses.replace(made, manifest=dataclasses.replace(made.manifest, int8=table))
    if runs_itself(request.target) and recipe.verify == "on":
        verified = check_made(recipe, request, model, made) | {"graph": dict(verified)}
    return made, graph, verified
