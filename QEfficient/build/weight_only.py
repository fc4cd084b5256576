"""Weights in few bits as a stage: a graph that stores them so, from the cache or made now."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from QEfficient.backends.host import WEIGHT_ONLY
from QEfficient.build.tabled_graph import tabled_graph
from QEfficient.cache import Cache
from QEfficient.records import Json, OnnxModel

if TYPE_CHECKING:
    from QEfficient.source.recipe import Recipe

TABLE_FILE = "weights.json"


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

    def make(workdir: Path) -> tuple[OnnxModel, dict[str, Json]]:
        from QEfficient.compress.weight_only import to_weight_only

        made = to_weight_only(model, WEIGHT_ONLY[compute], workdir)
        return made.model, made.table()

    return tabled_graph(recipe.origin.name, {compute: model.digest}, TABLE_FILE, make, cache)
