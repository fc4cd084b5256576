"""Weights in few bits as a stage: a graph that stores them so, from the cache or made now."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from QEfficient.backends.host import GROUPED, NARROW, WEIGHT_ONLY
from QEfficient.build.rounding_texts import rounding_texts
from QEfficient.build.tabled_graph import tabled_graph
from QEfficient.cache import Cache
from QEfficient.progress import progress
from QEfficient.records import Json, OnnxModel

if TYPE_CHECKING:
    from QEfficient.build.decoder_request import DecoderRequest
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


def group_weights_stage(
    recipe: Recipe, request: DecoderRequest, model: OnnxModel, cache: Cache
) -> tuple[OnnxModel, dict[str, Json]]:
    """As :func:`weight_only_stage`, of a decoder: its weights are stored in groups, those of 4 bits rounded for texts.

    Precisions of as many bits and of equal groups have one graph.

    Args:
        recipe: Whose graph it is.
        request: Its precision, one of :data:`QEfficient.backends.host.NARROW`; weights are rounded for its texts and
            the built-in ones.
        model: The graph in fp32.
        cache: Looked into first.

    Raises:
        UsageError: The graph has no weight that can be stored so.
    """
    bits, group = NARROW[request.compute], GROUPED[request.compute]
    texts = None
    if bits == 4 and not request.decoder.has_encoder:
        texts = rounding_texts(recipe, request.text, request.texts)
    ingredients: dict[str, Json] = {f"int{bits}_groups": model.digest, "group": group}
    if texts is not None:
        ingredients["rounded_for"] = texts.digest

    def make(workdir: Path) -> tuple[OnnxModel, dict[str, Json]]:
        from QEfficient.compress.weight_only import to_grouped

        with cache.work_folder() as scratch, progress(None, None, request.compute, "step") as counted:
            made = to_grouped(model, bits, workdir, group=group, texts=texts, scratch=scratch, progress=counted)
        return made.model, made.table()

    return tabled_graph(recipe.origin.name, ingredients, TABLE_FILE, make, cache)
