"""The first stage of the road: recipe → ONNX. It looks in the cache before it works."""

from __future__ import annotations

import dataclasses
import gc
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from QEfficient import program as programs
from QEfficient.build.gc_paused import not_collected
from QEfficient.build.request import CompileRequest
from QEfficient.cache import Cache, file_digest, library_versions, link_or_copy
from QEfficient.errors import OptionError, UsageError
from QEfficient.records import BATCH_DIM, LENGTH_DIM, Json, OnnxModel, Shape
from QEfficient.runtime.spans import span
from QEfficient.source.recipe import Recipe

if TYPE_CHECKING:
    from QEfficient.build.subject import ModelSubject

log = logging.getLogger("QEfficient")


def export_stage(recipe: Recipe, cache: Cache) -> OnnxModel:
    """The recipe's graph, from the cache or exported now."""
    return exported(recipe, recipe.ingredients(), partial(_export, recipe), cache)


def exported(
    recipe: Recipe, ingredients: Mapping[str, Json] | None, export: Callable[[Path], OnnxModel], cache: Cache
) -> OnnxModel:
    """A graph of a recipe, from the cache or exported now.

    Args:
        recipe: What it is made of.
        ingredients: Of the cache's key; ``None`` where only the graph can tell what it is.
        export: Writes the checked graph into the folder that it is given.
        cache: Looked into first.
    """
    if ingredients is None:
        with cache.work_folder() as scratch:
            return _keep_onnx(export(scratch), recipe, cache)

    def make(workdir: Path) -> OnnxModel:
        model = export(workdir)
        recipe.refuse_changed()
        return model

    return graph_stage(recipe.origin.name, ingredients, make, cache)


def graph_stage(
    name: str, ingredients: Mapping[str, Json], make: Callable[[Path], OnnxModel], cache: Cache
) -> OnnxModel:
    """One graph, from the cache or made now. A task with several has an entry for each.

    Args:
        name: The model's name.
        ingredients: Of the cache's key: all that shapes the graph.
        make: Writes it into the folder that it is given.
        cache: Looked into first.
    """

    def build(workdir: Path) -> None:
        programs.write_onnx(make(workdir), key=ingredients, versions=library_versions())

    folder, hit = cache.get_or_build(name, "onnx", ingredients, build)
    log.info("ONNX graph of %s: %s %s", name, "found in" if hit else "written to", folder)
    return programs.load_onnx(folder, check=hit)  # what was built now was digested now


def _keep_onnx(model: OnnxModel, recipe: Recipe, cache: Cache, checked_for: Json = None) -> OnnxModel:
    """Puts a graph into the cache under its own digest.

    Args:
        model: The graph. It was checked, and the result stands beside it, unless ``checked_for`` is given.
        recipe: Whose numbers it has to give.
        cache: Where to put it.
        checked_for: Ingredients of the recipe that the graph is checked for on its way into the cache.
    """
    from QEfficient.numerics import continuations, references

    ingredients: dict[str, Json] = {"graph": model.digest, "verify": recipe.verify}
    if checked_for is not None:
        ingredients["model"] = checked_for
    else:
        for file in (references.FILE, continuations.FILE):
            if (model.path.parent / file).is_file():
                ingredients["reference"] = file_digest(model.path.parent / file)

    def adopted(workdir: Path) -> OnnxModel:
        for file in sorted(model.path.parent.iterdir()):
            if file.is_file():
                link_or_copy(file, workdir / file.name)
        moved = dataclasses.replace(model, path=workdir / model.path.name)
        if checked_for is not None:
            _check(recipe, moved)
        return moved

    return graph_stage(recipe.origin.name, ingredients, adopted, cache)


def _check(recipe: Recipe, model: OnnxModel) -> None:
    from QEfficient.build.check import check_exported  # a warm cache needs neither onnx nor safetensors

    check_exported(recipe, model)
    recipe.origin.release()
    gc.collect()  # the exporter leaves cycles behind that hold the weights


def with_graph(request: CompileRequest, subject: ModelSubject) -> CompileRequest:
    """The request with the caller's graph in the cache, external data and all, checked as an export of ours is.

    Raises:
        UsageError: There is no such file.
        OptionError: An input has other dims than the buckets give sizes to, or the outputs are not the model's.
        VerificationError: It does not give the model's numbers.
    """
    from QEfficient.onnx_transforms import adopt

    path, recipe, cache = request.onnx_path, subject.recipe, Cache()
    if path is None or not path.is_file():
        raise UsageError(
            "There is no ONNX file at this path.",
            got=f"onnx_path={str(path)!r}",
            allowed="the path of a .onnx file; its external data stands beside it",
            do="check the path, or leave onnx_path out to export the model",
        )
    with cache.work_folder() as scratch:
        graph = adopt(path, scratch)
        _check_dims(graph, recipe, request.buckets)
        if recipe.verify == "on":
            _check_outputs(graph, recipe)
        known = recipe.ingredients()
        if known is None:
            _check(recipe, graph)
        graph = _keep_onnx(graph, recipe, cache, checked_for=known)
    return dataclasses.replace(request, onnx_path=None, graph=graph)


def _check_outputs(graph: OnnxModel, recipe: Recipe) -> None:
    names = [spec.name for spec in graph.outputs]
    if not set(names) <= set(recipe.task.outputs):
        raise OptionError(
            "The graph has other outputs than the model's export, so its numbers can't be checked.",
            got=", ".join(names),
            allowed=", ".join(recipe.task.outputs),
            do='name them so, or pass verify="off", which is recorded',
        )


def _check_dims(graph: OnnxModel, recipe: Recipe, buckets: Sequence[Shape]) -> None:
    """Each input is ``(batch, length)``, boxes and the like with their sizes behind that.

    A dim is free under its own name, or fixed at every bucket's size.
    """
    sizes = {one.name: one.sizes for one in recipe.architecture.more(recipe.origin.config())}
    for spec in graph.inputs:
        behind = sizes.get(spec.name, ())
        for bucket in buckets:
            dims = ((BATCH_DIM, bucket.batch), (LENGTH_DIM, bucket.length), *((size,) for size in behind))
            wrong = len(spec.shape) != len(dims)
            if wrong or any(dim not in known for dim, known in zip(spec.shape, dims, strict=True)):
                allowed = ", ".join(map(str, (BATCH_DIM, LENGTH_DIM, *behind)))
                raise OptionError(
                    "The graph's inputs can't take the lengths that it is to be compiled for.",
                    got=f"{spec.name!r} is {list(spec.shape)}, for seq_len={bucket.length}, batch_size={bucket.batch}",
                    allowed=f"[{allowed}], or these sizes themselves",
                    do="export the graph with these free dims, or pass seq_len= and batch_size= as the graph has them",
                )


def copy_onnx(model: OnnxModel, parent: Path) -> Path:
    """Copies a cached graph to ``parent/<entry's name>/``, for the caller to change; the cache's own stays as it is.

    Returns:
        Path of the copy's ``.onnx`` file, which soon may hold another graph.
    """
    folder = model.path.parent
    return programs.copy_folder(folder, parent.expanduser() / folder.name) / model.path.name


def _export(recipe: Recipe, folder: Path) -> OnnxModel:
    with not_collected():
        # Everything below needs torch; it is imported here so that a warm cache never pays for it.
        with span("import"):
            from QEfficient.build.torch_graph import export_graph
        model = export_graph(recipe, folder)
        with span("verify"):
            _check(recipe, model)
    return model
