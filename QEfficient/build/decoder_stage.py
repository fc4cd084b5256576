"""The stages of a decoder's road: recipe → ONNX → program. Each looks in the cache before it works."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from QEfficient.build.decoder_request import DecoderRequest
from QEfficient.build.gc_paused import not_collected
from QEfficient.build.generation_files import generation_key
from QEfficient.build.graph_stage import exported
from QEfficient.build.layer_caches import save_caches
from QEfficient.build.program_stage import of_model, of_recipe, program_of
from QEfficient.cache import Cache
from QEfficient.records import Json, OnnxModel, Program, TextFacts
from QEfficient.runtime.freed import give_back
from QEfficient.runtime.spans import span
from QEfficient.source.recipe import Recipe
from QEfficient.tasks.text_generation import DecoderForm


def decoder_export_stage(recipe: Recipe, form: DecoderForm, text: TextFacts, cache: Cache) -> OnnxModel:
    """A decoder's graph, from the cache or exported now.

    Args:
        recipe: Which model.
        form: Which of its graphs.
        text: Its text side, for the texts that HuggingFace's model goes on with.
        cache: Looked into first.
    """
    return exported(recipe, _of_graph(recipe, form), partial(_export, recipe, form, text), cache)


def decoder_stage(recipe: Recipe, request: DecoderRequest, cache: Cache) -> Program:
    """The program for a request, from the cache or compiled now."""
    form = request.form
    ingredients = request.ingredients() | of_model(recipe.origin) | generation_key(recipe.origin)
    graph, source = None, _of_graph(recipe, form)
    if source is not None:
        ingredients["onnx"] = source
    else:
        graph = decoder_export_stage(recipe, form, request.text, cache)
        ingredients |= {"graph": graph.digest, **of_recipe(recipe)}

    def build(workdir: Path) -> None:
        from QEfficient.build.decoder_making import make_decoder  # a warm cache needs neither onnx nor safetensors

        made = graph or decoder_export_stage(recipe, form, request.text, cache)
        make_decoder(recipe, request, made, ingredients, workdir)

    return program_of(recipe.origin.name, ingredients, build, cache)


def _of_graph(recipe: Recipe, form: DecoderForm) -> dict[str, Json] | None:
    known: Mapping[str, Json] | None = recipe.ingredients()
    return None if known is None else {**known, "form": dataclasses.asdict(form)}


def _export(recipe: Recipe, form: DecoderForm, text: TextFacts, folder: Path) -> OnnxModel:
    with not_collected():
        # Everything below needs torch; it is imported here so that a warm cache never pays for it.
        with span("import"):
            from QEfficient.build.decoder_caches import caches_of, tried
            from QEfficient.build.decoder_graph import export_decoder
        with span("load"):
            save_caches(folder, caches_of(recipe))
        if recipe.verify == "on":  # first, as the graph's check lets go of the weights
            with span("verify"), tried(recipe):
                from QEfficient.build.decoder_reference import reference_continuations
                from QEfficient.numerics import continuations

                continuations.save(folder, reference_continuations(recipe, text))
        model = export_decoder(recipe, form, folder)
    recipe.origin.release()
    give_back()  # the exporter leaves cycles behind that hold the weights
    return model
