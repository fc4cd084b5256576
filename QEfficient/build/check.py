"""The checks of ``compile``: what is run, what it is compared with, and what an error says."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from QEfficient.build.request import CompileRequest
from QEfficient.numerics import references
from QEfficient.numerics.check import Comparison, check_padding
from QEfficient.numerics.emulate import FULL, LOWER, Precision, computed_in, limits_name, open_emulated
from QEfficient.numerics.explain import place_of
from QEfficient.numerics.host import CHECKED_ON, HOST, host_session
from QEfficient.numerics.samples import bucket_of
from QEfficient.numerics.sentences import SENTENCES
from QEfficient.numerics.verify import Limits, Reference, Sample, Verification, limits_for, refuse, verify
from QEfficient.records import Json, OnnxModel, Program, Shape, Target, TensorSpec

if TYPE_CHECKING:
    from QEfficient.source.recipe import Recipe

EMULATED = "the card's arithmetic, emulated on the host"
CHECK_FILE = "check.json"


def check_exported(recipe: Recipe, model: OnnxModel) -> None:
    """Checks a graph against HuggingFace's numbers, and writes what was found, and those numbers, beside it.

    Raises:
        VerificationError: They differ.
    """
    found: dict[str, Json] = {"verify": "off"}
    if recipe.verify == "on":
        from QEfficient.build.torch_reference import check_graph

        result, numbers = check_graph(recipe, model)
        references.save(model.path.parent, numbers)
        found = {"verify": "on", **result.to_json()}
    (model.path.parent / CHECK_FILE).write_text(json.dumps(found, indent=1), encoding="utf-8")


def check_program(recipe: Recipe, request: CompileRequest, model: OnnxModel) -> dict[str, Json]:
    """What a program that is about to be compiled will compute, against HuggingFace's numbers.

    On the host that is the graph itself, which was checked when it was exported: only the caller's own texts and limits
    are left to check. The card's arithmetic is emulated. What is checked as it is made (:func:`runs_itself`) comes
    later.

    Returns:
        The result for the manifest; for a card beside it, as ``"graph"``, that of the graph in fp32.

    Raises:
        VerificationError: A limit does not hold; names the layer where numbers stop being finite.
    """
    file = model.path.parent / CHECK_FILE
    graph: dict[str, Json] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {"verify": "not run"}
    precision = computed_in(request.options, request.target)
    plain = precision == FULL
    if graph["verify"] != "on" or runs_itself(request.target):
        return graph
    if plain and not request.texts and request.limits is None:
        return graph
    kept = kept_references(recipe, request, model)
    how = Comparison(recipe.origin.name, model.outputs, recipe.task.scores, recipe.frames)
    limits = limits_for(limits_name(precision, request.target), request.limits, routed=recipe.architecture.routed)
    result = _run(model, precision, kept, how, limits)
    refuse(result, how.name, *advice(model, precision, kept, result))
    return {"verify": "on", **result.to_json()} | ({} if plain else {"graph": graph})


def runs_itself(target: Target) -> bool:
    """Whether a program is run for its check, once it is made: a host's that computes other than that of its graph."""
    return target.compute in LOWER or (target.compute == "fp32" and target.backend != CHECKED_ON)


def kept_references(recipe: Recipe, request: CompileRequest, model: OnnxModel) -> list[Reference]:
    """What HuggingFace gave for a graph's samples, as far as the program can run them, and for the caller's texts."""
    kept = _fitting(references.load(model.path.parent), model.inputs, request.buckets[-1])
    texts = request.texts
    if request.target.compute == "int8" and sum(len(sample.names) for sample, _ in kept if sample.texts) < len(
        SENTENCES
    ):
        texts = (*SENTENCES, *texts)  # short buckets: cut to what the program takes
    if texts:
        from QEfficient.build.torch_reference import text_references

        kept += text_references(recipe, model, texts, request.buckets[-1].length)
    return [each for each in kept if counts(each[0], request.target)]


def counts(sample: Sample, target: Target) -> bool:
    """Whether a program has to answer a sample well: int8 is calibrated on text, and random rows are none."""
    return sample.texts or target.compute != "int8"


def _fitting(kept: list[Reference], inputs: Sequence[TensorSpec], bucket: Shape) -> list[Reference]:
    """Those that the program can run, or the smallest where none fits."""
    fits = [each for each in kept if bucket_of(inputs, [each[0]]).length <= bucket.length]
    return fits or kept[-1:]


def _run(
    model: OnnxModel, precision: Precision, kept: Sequence[Reference], how: Comparison, limits: Limits
) -> Verification:
    bucket = bucket_of(model.inputs, [sample for sample, _ in kept])
    if precision == FULL:
        with host_session(model, bucket) as session:
            return verify(kept, session.run, how, limits, HOST)
    with open_emulated(model, precision, buckets=(bucket,)) as session:
        return verify(kept, session.run, how, limits, EMULATED)


def advice(model: OnnxModel, precision: Precision, kept: Sequence[Reference], result: Verification) -> tuple[str, str]:
    """For an error: where it starts, and what to do."""
    if result.passed or not precision.half:
        return "", ""
    do = "call doctor() for a node-precision file that mends it, or compile(node_precision_info=True)"
    for sample, _ in kept if result.not_finite else ():
        place = place_of(model, sample.inputs, precision)
        if place:
            return f"The first number that is not finite comes from {place}.", do
    return "", do


def check_made(recipe: Recipe, request: CompileRequest, model: OnnxModel, made: Program) -> dict[str, Json]:
    """What a host's program computes, against HuggingFace's numbers: the program itself is run.

    Args:
        recipe: The model.
        request: Its limits and texts count.
        model: The graph in fp32, with what HuggingFace gave beside it.
        made: The program.

    Returns:
        The result, for the manifest.

    Raises:
        VerificationError: A limit does not hold.
        NumericsError: A row's numbers depend on the rows beside it.
    """
    compute, architecture = request.target.compute, recipe.architecture
    kept = kept_references(recipe, request, model)
    how = Comparison(recipe.origin.name, model.outputs, recipe.task.scores, recipe.frames)
    limits = limits_for(compute, request.limits, routed=architecture.routed)
    do = f"pass looser limits={{…}}, or leave compute={compute!r} out"
    if compute == "int8":
        do = f"pass texts= such as the model will be given, or {do.removeprefix('pass ')}"
    elif compute == "int4_weights":
        do = f'pass compute="int8_weights", or {do.removeprefix("pass ")}'
    elif compute not in LOWER:
        do = f"compile for another backend: backend={CHECKED_ON!r}"
    with request.backend.open(made) as session:
        result = verify(kept, session.run, how, limits, f"{compute} on {request.backend.name}")
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
