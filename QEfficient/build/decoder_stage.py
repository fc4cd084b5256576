"""The stages of a decoder's road: recipe → ONNX → program. Each looks in the cache before it works."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from QEfficient.build.decoder_request import DecoderRequest
from QEfficient.build.gc_paused import not_collected
from QEfficient.build.generation_files import generation_key
from QEfficient.build.graph_stage import exported
from QEfficient.build.layer_caches import save_caches
from QEfficient.build.program_stage import of_model, of_recipe, program_of
from QEfficient.cache import Cache
from QEfficient.program import copy_as
from QEfficient.records import Caches, Json, OnnxModel, Program, TextFacts
from QEfficient.runtime.freed import give_back
from QEfficient.runtime.spans import span
from QEfficient.source.recipe import Recipe
from QEfficient.tasks.text2text_generation import SourceForm
from QEfficient.tasks.text_generation import DecoderForm

if TYPE_CHECKING:
    from QEfficient.numerics.continuations import Continuation

Form = DecoderForm | SourceForm


def decoder_export_stage(recipe: Recipe, form: Form, text: TextFacts, cache: Cache) -> OnnxModel:
    """A decoder's graph, from the cache or exported now.

    Args:
        recipe: Which model.
        form: Which of its graphs.
        text: Its text side, for the texts that HuggingFace's model goes on with.
        cache: Looked into first.
    """
    return exported(recipe, _of_graph(recipe, form), partial(_export, recipe, form, text), cache)


def decoder_stage(
    recipe: Recipe,
    request: DecoderRequest,
    cache: Cache,
    steps: Sequence[Mapping[str, Json]] = (),
    made: Program | None = None,
) -> Program:
    """The program for a request, from the cache or compiled now.

    Args:
        recipe: Which model.
        request: What to compile it for.
        cache: Looked into first.
        steps: By what the program makes the model smaller, beyond what was done to the model itself.
        made: The same program without these steps: it is taken as it is.
    """
    form = request.form
    ingredients = request.ingredients() | of_model(recipe.origin, steps) | generation_key(recipe.origin)
    graph, source = None, _of_graph(recipe, form)
    if source is not None:
        ingredients["onnx"] = source
    else:
        graph = decoder_export_stage(recipe, form, request.text, cache)
        ingredients |= {"graph": graph.digest, **of_recipe(recipe)}

    def build(workdir: Path) -> None:
        if made is not None:
            copy_as(made, workdir, ingredients)
            return
        from QEfficient.build.decoder_making import make_decoder  # a warm cache needs neither onnx nor safetensors

        model = graph or decoder_export_stage(recipe, form, request.text, cache)
        make_decoder(recipe, request, model, ingredients, workdir, cache)

    return program_of(recipe.origin.name, ingredients, build, cache)


def _of_graph(recipe: Recipe, form: Form) -> dict[str, Json] | None:
    known: Mapping[str, Json] | None = recipe.ingredients()
    return None if known is None else {**known, "form": dataclasses.asdict(form)}


def _export(recipe: Recipe, form: Form, text: TextFacts, folder: Path) -> OnnxModel:
    with not_collected():
        # Everything below needs torch; it is imported here so that a warm cache never pays for it.
        with span("import"):
            caches_of, reference, export = _of_form(form)
        with span("load"):
            save_caches(folder, caches_of(recipe))
        if recipe.verify == "on":  # first, as the graph's check lets go of the weights
            with span("verify"):
                from QEfficient.numerics import continuations

                continuations.save(folder, reference(recipe, text))
        model = export(recipe, form, folder)
    recipe.origin.release()
    give_back()  # the exporter leaves cycles behind that hold the weights
    return model


def _of_form(
    form: Form,
) -> tuple[
    Callable[[Recipe], Caches],
    Callable[[Recipe, TextFacts], list[Continuation]],
    Callable[[Recipe, Any, Path], OnnxModel],
]:
    """What the layers keep, how HuggingFace's model goes on, and the graph: with an encoder, or without."""
    if isinstance(form, SourceForm):
        from QEfficient.build.seq2seq_graph import cross_caches_of, export_seq2seq
        from QEfficient.build.seq2seq_reference import source_continuations

        return cross_caches_of, source_continuations, export_seq2seq
    from QEfficient.build.decoder_caches import caches_of, tried
    from QEfficient.build.decoder_graph import export_decoder
    from QEfficient.build.decoder_reference import reference_continuations

    def reference(recipe: Recipe, text: TextFacts) -> list[Continuation]:
        with tried(recipe):
            return reference_continuations(recipe, text)

    return caches_of, reference, export_decoder
