"""int8 as a stage: a graph with its matrix products in int8, from the cache or quantised now."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from QEfficient.build.tabled_graph import tabled_graph
from QEfficient.cache import Cache
from QEfficient.progress import progress
from QEfficient.records import Json, OnnxModel
from QEfficient.text.facts import preprocessing_key

if TYPE_CHECKING:
    from QEfficient.build.request import CompileRequest
    from QEfficient.numerics.verify import Sample
    from QEfficient.source.recipe import Recipe

TABLE_FILE = "int8.json"


def int8_stage(
    recipe: Recipe, request: CompileRequest, model: OnnxModel, cache: Cache
) -> tuple[OnnxModel, dict[str, Json]]:
    """The int8 graph of a graph, and the table of what was left out.

    Args:
        recipe: Whose graph it is.
        request: Its texts are calibrated on, besides the built-in ones; its limits are what the search aims at.
        model: The graph in fp32.
        cache: Looked into first.

    Raises:
        UsageError: The model takes no texts.
        VerificationError: No layer may be int8 within the limits.
    """
    ingredients: dict[str, Json] = {
        "int8": model.digest,
        "texts": list(request.texts),
        "limits": None if request.limits is None else dict(request.limits),
        "longest": request.buckets[-1].length,
        "text": dataclasses.asdict(request.text),
    } | preprocessing_key(recipe.origin.folder, recipe.origin.tokenizer_keywords)

    def make(workdir: Path) -> tuple[OnnxModel, dict[str, Json]]:
        return _quantise(recipe, request, model, cache, workdir)

    return tabled_graph(recipe.origin.name, ingredients, TABLE_FILE, make, cache)


def _quantise(
    recipe: Recipe, request: CompileRequest, model: OnnxModel, cache: Cache, workdir: Path
) -> tuple[OnnxModel, dict[str, Json]]:
    from QEfficient.compress.int8 import to_int8
    from QEfficient.numerics.check import Comparison
    from QEfficient.numerics.verify import limits_for

    how = Comparison(recipe.origin.name, model.outputs, recipe.task.scores, recipe.frames)
    limits = limits_for("int8", request.limits, routed=recipe.architecture.routed)
    samples = _samples(recipe, request, model)
    with cache.work_folder() as scratch, progress(None, None, "int8", "trial") as counted:
        made = to_int8(model, samples, how, limits, workdir, scratch=scratch, progress=counted)
    return made.model, made.table()


def _samples(recipe: Recipe, request: CompileRequest, model: OnnxModel) -> list[Sample]:
    """The built-in texts and the caller's. Random rows are no text: what they show is not what will be sent."""
    from QEfficient.build.torch_reference import text_samples_of
    from QEfficient.numerics.sentences import LONG, SENTENCES

    return text_samples_of(recipe, model, (*SENTENCES, LONG, *request.texts), request.buckets[-1].length)
