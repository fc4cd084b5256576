"""The second stage of the road: ONNX → program. It looks in the cache before it works."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from QEfficient import program as programs
from QEfficient.build.graph_stage import export_stage
from QEfficient.build.request import CompileRequest
from QEfficient.cache import Cache, to_json
from QEfficient.compress.record import steps_of
from QEfficient.records import CONFIG_KEY, Json, Program
from QEfficient.source.origin import Origin
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
    ingredients = request.ingredients() | of_model(origin, steps)
    source = recipe.ingredients() if model is None else None
    if source is not None:
        ingredients["onnx"] = source
    else:
        if model is None:
            model = export_stage(recipe, cache)
            ingredients["graph"] = model.digest
        ingredients |= of_recipe(recipe)
        ingredients["rules"] = to_json(recipe.architecture.rules(origin.config(), model.inputs))

    def build(workdir: Path) -> None:
        if made is not None:
            programs.copy_as(made, workdir, ingredients)
            return
        from QEfficient.build.making import make  # a warm cache needs neither onnx nor safetensors

        make(recipe, request, model or export_stage(recipe, cache), ingredients, workdir, cache)

    return program_of(origin.name, ingredients, build, cache)


def of_model(origin: Origin, steps: Sequence[Mapping[str, Json]] = ()) -> dict[str, Json]:
    """Ingredients of a program's key that its model has: how texts are read, what it was trained from, made smaller by.

    Args:
        origin: The model.
        steps: As :func:`compile_stage` has them.
    """
    ingredients = preprocessing_key(origin.folder, origin.tokenizer_keywords)
    if origin.training is not None:
        ingredients["trained"] = dict(origin.training)  # so that the manifest says what the model was trained from
    own = steps_of(origin.config()) if CONFIG_KEY in origin.config() else []
    if every := [*own, *map(dict, steps)]:
        ingredients["compressed"] = list[Json](every)  # and by what it was made smaller
    return ingredients


def of_recipe(recipe: Recipe) -> dict[str, Json]:
    """Ingredients of a program's key beside its graph's digest, where that alone tells what the graph is."""
    config = json.loads(json.dumps(recipe.origin.config(), default=str))
    return {"verify": recipe.verify, "task": recipe.task.name, "config": config}


def program_of(name: str, ingredients: Mapping[str, Json], build: Callable[[Path], None], cache: Cache) -> Program:
    """A program, from the cache or made now.

    Args:
        name: The model's name.
        ingredients: Of the cache's key: all that shapes the program.
        build: Writes and seals it in the folder that it is given.
        cache: Looked into first.
    """
    path, hit = cache.get_or_build(name, "program", ingredients, build)
    log.info("program of %s: %s %s", name, "found in" if hit else "written to", path)
    return programs.load(path)
