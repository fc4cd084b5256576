"""Weights in few bits as a stage: a graph that stores them so, from the cache or made now."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from QEfficient import program as programs
from QEfficient.backends.host import WEIGHT_ONLY
from QEfficient.cache import Cache, library_versions
from QEfficient.records import Json, OnnxModel

if TYPE_CHECKING:
    from QEfficient.source.recipe import Recipe

STAGE, TABLE_FILE = "onnx", "weights.json"


def weight_only_stage(
    recipe: Recipe, compute: str, model: OnnxModel, cache: Cache
) -> tuple[OnnxModel, dict[str, Json]]:
    """The graph with its weights in few bits, and the table of what became of them.

    Args:
        recipe: Whose graph it is.
        compute: A name of :data:`QEfficient.backends.host.WEIGHT_ONLY`.
        model: The graph in fp32.
        cache: Looked into first.

    Raises:
        UsageError: The graph has no weight that can be stored so.
    """
    versions = library_versions()
    ingredients: dict[str, Json] = {compute: model.digest, "versions": versions}

    def build(workdir: Path) -> None:
        from QEfficient.compress.weight_only import to_weight_only

        made = to_weight_only(model, WEIGHT_ONLY[compute], workdir)
        (workdir / TABLE_FILE).write_text(json.dumps(made.table(), indent=1), encoding="utf-8")
        programs.write_onnx(made.model, key=ingredients, versions=versions)

    found, hit = cache.get_or_build(recipe.origin.name, STAGE, ingredients, build)
    return programs.load_onnx(found, check=hit), json.loads((found / TABLE_FILE).read_text(encoding="utf-8"))
