"""What a row may look like, of a model or a program: asked by whoever runs a graph beside its program."""

from __future__ import annotations

from collections.abc import Sequence

from QEfficient.inference.loaded_program import LoadedProgram
from QEfficient.records import RowRules, TensorSpec
from QEfficient.source.recipe import Recipe


def rules_of(loaded: LoadedProgram | None, recipe: Recipe | None, inputs: Sequence[TensorSpec]) -> RowRules:
    """As the program's manifest has them, else as a program of a graph with these inputs would.

    Args:
        loaded: The program, where one is compiled.
        recipe: Where the graph comes from; ``None`` for a saved program.
        inputs: The graph's.
    """
    if loaded is not None:
        return loaded.program.manifest.rules
    return recipe.architecture.rules(recipe.origin.config(), inputs) if recipe is not None else RowRules()
