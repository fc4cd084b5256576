"""Weights in few bits as a stage: a graph that stores them so, from the cache or made now."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from QEfficient.backends.host import NARROW, WEIGHT_ONLY
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


def group_weights_stage(name: str, compute: str, model: OnnxModel, cache: Cache) -> tuple[OnnxModel, dict[str, Json]]:
    """As :func:`weight_only_stage`, of a decoder: its weights are stored in groups.

    Args:
        name: The model's name.
        compute: A name of :data:`QEfficient.backends.host.NARROW`; those of as many bits have one graph.
        model: The graph in fp32.
        cache: Looked into first.

    Raises:
        UsageError: The graph has no weight that can be stored so.
    """
    bits = NARROW[compute]

    def make(workdir: Path) -> tuple[OnnxModel, dict[str, Json]]:
        from QEfficient.compress.weight_only import to_grouped

        made = to_grouped(model, bits, workdir)
        return made.model, made.table()

    return tabled_graph(name, {f"int{bits}_groups": model.digest}, TABLE_FILE, make, cache)
