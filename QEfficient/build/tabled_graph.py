"""A graph in fewer bits with the table of what became of its weights, from the cache or made now."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from QEfficient import program as programs
from QEfficient.cache import Cache, library_versions
from QEfficient.records import Json, OnnxModel

STAGE = "onnx"


def tabled_graph(
    name: str,
    ingredients: Mapping[str, Json],
    file: str,
    make: Callable[[Path], tuple[OnnxModel, dict[str, Json]]],
    cache: Cache,
) -> tuple[OnnxModel, dict[str, Json]]:
    """The graph and its table.

    Args:
        name: The model's name.
        ingredients: Of the cache's key; the versions of the libraries are added.
        file: Name of the table's file beside the graph.
        make: Writes the graph into the empty folder that it is given, and tells the table.
        cache: Looked into first.
    """
    versions = library_versions()
    key = {**ingredients, "versions": versions}

    def build(workdir: Path) -> None:
        made, table = make(workdir)
        (workdir / file).write_text(json.dumps(table, indent=1), encoding="utf-8")
        programs.write_onnx(made, key=key, versions=versions)

    found, hit = cache.get_or_build(name, STAGE, key, build)
    return programs.load_onnx(found, check=hit), json.loads((found / file).read_text(encoding="utf-8"))
