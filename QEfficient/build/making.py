"""From a checked graph to a program: quantised where that was asked for, compiled, checked as it was made, sealed."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from QEfficient import program as programs
from QEfficient.backends.host import WEIGHT_ONLY
from QEfficient.build.check import check_made, check_program, runs_itself
from QEfficient.build.described import described
from QEfficient.build.int8 import int8_stage
from QEfficient.build.weight_only import weight_only_stage
from QEfficient.cache import Cache
from QEfficient.records import MODEL, Json, OnnxModel, Program

if TYPE_CHECKING:
    from QEfficient.build.request import CompileRequest
    from QEfficient.source.recipe import Recipe


def make(
    recipe: Recipe,
    request: CompileRequest,
    model: OnnxModel,
    key: Mapping[str, Json],
    workdir: Path,
    cache: Cache,
) -> None:
    """Writes the program into ``workdir`` and seals it.

    Args:
        recipe: Which model.
        request: What to compile it for.
        model: Its graph.
        key: Every ingredient of the program's key.
        workdir: The program's folder.
        cache: Where a quantised graph is looked for and kept.

    Raises:
        VerificationError: A limit does not hold.
        CompileError: The backend refuses the graph.
    """
    verified = check_program(recipe, request, model)  # first: a card's compiler takes minutes
    graph, int8, weights = model, dict[str, Json](), dict[str, Json]()
    if request.target.compute == "int8":
        graph, int8 = int8_stage(recipe, request, model, cache)
    elif request.target.compute in WEIGHT_ONLY:
        graph, weights = weight_only_stage(recipe, request.target.compute, model, cache)
    made = request.backend.compile({MODEL: graph}, {MODEL: request.buckets}, request.target, request.options, workdir)
    made = dataclasses.replace(made, manifest=dataclasses.replace(made.manifest, int8=int8))
    if runs_itself(request.target) and recipe.verify == "on":
        verified = check_made(recipe, request, model, made) | {"graph": dict(verified)}
        if weights:
            weights |= {name: verified[name] for name in ("min_cosine", "mean_cosine", "rank_agreement")}
    head = recipe.head.steps if request.graph is None else ({"step": "onnx_path"},)  # what it does there is not known
    rules = recipe.architecture.rules(recipe.origin.config(), model.inputs)
    manifest = described(made, recipe, request.text, model, head)
    manifest = dataclasses.replace(manifest, weights=weights, rules=rules)
    programs.write(Program(workdir, dataclasses.replace(manifest, key=key, verify=verified)), {MODEL: graph})
