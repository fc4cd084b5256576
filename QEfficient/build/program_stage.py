"""The second stage of the road: ONNX → program. It looks in the cache before it works."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from QEfficient import program as programs
from QEfficient.build.graph_stage import export_stage
from QEfficient.build.request import CompileRequest
from QEfficient.cache import Cache, to_json
from QEfficient.compress.record import steps_of
from QEfficient.records import CONFIG_KEY, Json, Program
from QEfficient.source.recipe import Recipe
from QEfficient.text.facts import preprocessing_key

log = logging.getLogger("QEfficient")


def compile_stage(
    recipe: Recipe,
    request: CompileRequest,
    cache: Cache,
    steps: Sequence[Mapping[str, Json]] = (),
    made: Program | None = None,
) -> Program:
    """The program for a request, from the cache or compiled now.

    Args:
        recipe: Where the graph comes from.
        request: What to compile it for.
        cache: Looked into first.
        steps: By what the program makes the model smaller, as ``compress.record`` has it, beyond what was done to the
            model itself.
        made: The same program without these steps: it is taken as it is.
    """
    origin, model = recipe.origin, request.graph
    ingredients = request.ingredients() | preprocessing_key(origin.folder, origin.tokenizer_keywords)
    if origin.training is not None:
        ingredients["trained"] = dict(origin.training)  # so that the manifest says what the model was trained from
    own = steps_of(origin.config()) if CONFIG_KEY in origin.config() else []
    if every := [*own, *map(dict, steps)]:
        ingredients["compressed"] = list[Json](every)  # and by what it was made smaller
    source = recipe.ingredients() if model is None else None
    if source is not None:
        ingredients["onnx"] = source
    else:
        if model is None:
            model = export_stage(recipe, cache)
            ingredients["graph"] = model.digest
        config = origin.config()
        ingredients |= {"verify": recipe.verify, "task": recipe.task.name}
        ingredients["rules"] = to_json(recipe.architecture.rules(config, model.inputs))
        ingredients["config"] = json.loads(json.dumps(config, default=str))

    def build(workdir: Path) -> None:
        if made is not None:
            programs.copy_as(made, workdir, ingredients)
            return
        from QEfficient.build.making import make  # a warm cache needs neither onnx nor safetensors

        make(recipe, request, model or export_stage(recipe, cache), ingredients, workdir, cache)

    path, hit = cache.get_or_build(origin.name, "program", ingredients, build)
    log.info("program of %s: %s %s", origin.name, "found in" if hit else "written to", path)
    return programs.load(path)
