"""From a checked graph to a program: quantised where that was asked for, compiled, and checked again as it was made."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from QEfficient.auto.quantise import int8_stage
from QEfficient.auto.verification import CHECKED_ON, LOWER, check_program, kept_references, runs_itself
from QEfficient.cache import Cache
from QEfficient.numerics.check import Comparison, check_padding
from QEfficient.numerics.verify import limits_for, refuse, verify
from QEfficient.records import Json, OnnxModel, Program

if TYPE_CHECKING:
    from QEfficient.auto.recipe import Recipe
    from QEfficient.auto.stages import Order


def make(
    recipe: Recipe, order: Order, model: OnnxModel, workdir: Path, cache: Cache
) -> tuple[Program, OnnxModel, Mapping[str, Json]]:
    """The program, the graph that it was compiled from, and what its check found.

    Raises:
        VerificationError: A limit does not hold.
        CompileError: The backend refuses the graph.
    """
    verified = check_program(recipe, order, model)  # first: a card's compiler takes minutes
    table: dict[str, Json] = {}
    graph = model
    if order.target.compute == "int8":
        graph, table = int8_stage(recipe, order, model, cache)
    made = order.backend.compile(graph, order.buckets, order.target, order.options, workdir)
    made = dataclasses.replace(made, manifest=dataclasses.replace(made.manifest, int8=table))
    if runs_itself(order.target) and recipe.verify == "on":
        verified = check_made(recipe, order, model, made) | {"graph": dict(verified)}
    return made, graph, verified


def check_made(recipe: Recipe, order: Order, model: OnnxModel, made: Program) -> dict[str, Json]:
    """What a host's program computes, against HuggingFace's numbers: the program itself is run.

    Args:
        recipe: The model.
        order: Its limits and texts count.
        model: The graph in fp32, with what HuggingFace gave beside it.
        made: The program.

    Returns:
        The result, for the manifest.

    Raises:
        VerificationError: A limit does not hold.
        NumericsError: A row's numbers depend on the rows beside it.
    """
    compute, architecture = order.target.compute, recipe.architecture
    kept = kept_references(recipe, order, model)
    how = Comparison(recipe.origin.name, model.outputs, not recipe.task.embeds, recipe.frames)
    limits = limits_for(compute, order.limits, routed=architecture.routed)
    do = f"pass looser limits={{…}}, or leave compute={compute!r} out"
    if compute == "int8":
        do = f"pass texts= such as the model will be given, or {do.removeprefix('pass ')}"
    elif compute not in LOWER:
        do = f"compile for another backend: backend={CHECKED_ON!r}"
    with order.backend.open(made) as session:
        result = verify(kept, session.run, how, limits, f"{compute} on {order.backend.name}")
        refuse(result, how.name, _left_out(made), do)
        # scales of a whole batch would show here; otherwise padded rows are among those that were just compared
        if compute == "int8" and architecture.pads(recipe.origin.config()):
            batches = [sample.inputs for sample, _ in kept if sample.texts]
            check_padding(session.run, batches, dataclasses.replace(how, name=f"{how.name} in {compute}"), do)
    return {"verify": "on", **result.to_json()}


def _left_out(made: Program) -> str:
    """For an error: what stays in fp32 already."""
    table = made.manifest.int8
    if not table:
        return ""
    names = ", ".join(layer["layer"] for layer in table["left_out"]) or "none"
    return f"{table['share']:.0%} of its products are int8; left out: {names}."
