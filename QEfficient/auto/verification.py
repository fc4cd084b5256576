"""The checks of ``compile`` and ``verify``: what is run, what it is compared with, and what an error says."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from QEfficient import hub
from QEfficient.architectures import find
from QEfficient.auto import request
from QEfficient.auto.ready import Ready
from QEfficient.auto.samples import LONGEST, all_samples, bucket_of, refuse_texts
from QEfficient.backends import host_program, registry
from QEfficient.backends.base import Arrays, Session
from QEfficient.cache import Cache
from QEfficient.errors import NumericsError, QEfficientError
from QEfficient.numerics import references
from QEfficient.numerics.check import Array, Comparison
from QEfficient.numerics.emulate import Precision, open_emulated, precision_of
from QEfficient.numerics.sentences import SENTENCES
from QEfficient.numerics.verify import Limits, Reference, Sample, Verification, limits_for, refuse, verify
from QEfficient.records import Bucket, CompileOptions, Json, ModelFacts, OnnxModel, Target, TensorSpec
from QEfficient.runtime.run import run as run_session

if TYPE_CHECKING:
    from QEfficient.auto.recipe import Recipe
    from QEfficient.auto.stages import Order

log = logging.getLogger("QEfficient")

HOST = "fp32 on the host"
EMULATED = "the card's arithmetic, emulated on the host"
CHECK_FILE = "check.json"
FULL = Precision(half=False)
LOWER = ("bf16", "int8")  # precisions of a host
CHECKED_ON = "onnxruntime"  # runs a graph's own check, in fp32


@contextmanager
def host_session(model: OnnxModel, bucket: Bucket, *, plain: bool = False) -> Iterator[Session]:
    """A graph in fp32 on the host, for rows up to ``bucket``'s length; ``plain``: as it is, nothing joined."""
    backend = registry.get(CHECKED_ON)
    with Cache().work_folder() as folder:
        target = Target(backend=backend.name, compute=backend.compute[0])
        make = partial(host_program.make, backend.compute) if plain else backend.compile
        program = make(model, (bucket,), target, CompileOptions(), folder)
        with backend.open(program) as session:
            yield session


def check_exported(recipe: Recipe, model: OnnxModel) -> None:
    """Checks a graph against HuggingFace's numbers, and writes what was found, and those numbers, beside it.

    Raises:
        VerificationError: They differ.
    """
    found: dict[str, Json] = {"verify": "off"}
    if recipe.verify == "on":
        from QEfficient.auto.torch_stages import check_graph

        result, numbers = check_graph(recipe, model)
        references.save(model.path.parent, numbers)
        found = {"verify": "on", **result.to_json()}
    (model.path.parent / CHECK_FILE).write_text(json.dumps(found, indent=1), encoding="utf-8")


def check_program(recipe: Recipe, order: Order, model: OnnxModel) -> dict[str, Json]:
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
    precision = _precision(order.options, order.target)
    plain = precision == FULL
    if graph["verify"] != "on" or runs_itself(order.target):
        return graph
    if plain and not order.texts and order.limits is None:
        return graph
    kept = kept_references(recipe, order, model)
    how = Comparison(recipe.origin.name, model.outputs, not recipe.task.embeds, recipe.frames)
    limits = limits_for(limits_name(precision, order.target), order.limits, routed=recipe.architecture.routed)
    result = _run(model, precision, kept, how, limits)
    refuse(result, how.name, *_advice(model, precision, kept, result))
    return {"verify": "on", **result.to_json()} | ({} if plain else {"graph": graph})


def runs_itself(target: Target) -> bool:
    """Whether a program is run for its check, once it is made: a host's that computes other than that of its graph."""
    return target.compute in LOWER or (target.compute == "fp32" and target.backend != CHECKED_ON)


def kept_references(recipe: Recipe, order: Order, model: OnnxModel) -> list[Reference]:
    """What HuggingFace gave for a graph's samples, as far as the program can run them, and for the caller's texts."""
    kept = _fitting(references.load(model.path.parent), model.inputs, order.buckets[-1])
    texts = order.texts
    if order.target.compute == "int8" and sum(len(sample.names) for sample, _ in kept if sample.texts) < len(SENTENCES):
        texts = (*SENTENCES, *texts)  # short buckets: cut to what the program takes
    if texts:
        from QEfficient.auto.torch_stages import text_references

        kept += text_references(recipe, model, texts, order.buckets[-1].length)
    return [each for each in kept if counts(each[0], order.target)]


def counts(sample: Sample, target: Target) -> bool:
    """Whether a program has to answer a sample well: int8 is calibrated on text, and random rows are none."""
    return sample.texts or target.compute != "int8"


def _fitting(kept: list[Reference], inputs: Sequence[TensorSpec], bucket: Bucket) -> list[Reference]:
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


def _precision(options: CompileOptions, target: Target, folder: Path | None = None) -> Precision:
    """What is computed; the card's options do nothing on the host."""
    return FULL if target.compute in ("fp32", *LOWER) else precision_of(options, target, folder)


def limits_name(precision: Precision, target: Target) -> str:
    """Whose default limits count."""
    if target.compute in LOWER:
        return target.compute
    if precision.weights is not None:
        return "mxint8" if precision.weights == "mxint8" else "mxfp6"
    return "fp16" if precision.half else "fp32"


def _advice(model: OnnxModel, precision: Precision, kept: Sequence[Reference], result: Verification) -> tuple[str, str]:
    """For an error: where it starts, and what to do."""
    if result.passed or not precision.half:
        return "", ""
    do = "call doctor() for a node-precision file that mends it, or compile(node_precision_info=True)"
    for sample, _ in kept if result.not_finite else ():
        place = _place(model, sample.inputs, precision)
        if place:
            return f"The first number that is not finite comes from {place}.", do
    return "", do


def _place(model: OnnxModel, arrays: Mapping[str, Array], precision: Precision) -> str:
    """Where numbers stop being finite; ``""`` where emulation does not show it, or can't be had for this graph."""
    from QEfficient.numerics.first_bad import first_bad

    try:
        found = first_bad(model, arrays, precision)
    except QEfficientError as error:  # what it would be added to says more
        log.warning("the layer that numbers stop being finite in could not be looked for: %s", error)
        return ""
    return found.place if found else ""


# ---------------------------------------------------------------------------------------------- a compiled program


def verify_ready(
    ready: Ready, recipe: Recipe | None, texts: Sequence[str], limits: object, *, emulate: bool, check: bool
) -> Verification:
    """What a compiled program computes, against HuggingFace's numbers.

    Args:
        ready: The program.
        recipe: The model that it was made of; ``None``: a saved program is compared with its own graph in fp32.
        texts: Further texts to run.
        limits: As :func:`QEfficient.numerics.verify.limits_for` takes them.
        emulate: Run the card's arithmetic on the host in place of the program.
        check: Raise when a limit does not hold.

    Raises:
        VerificationError: A limit does not hold.
    """
    manifest = ready.program.manifest
    model = OnnxModel(ready.program.onnx_path, manifest.inputs, manifest.outputs, digest="")
    target = dataclasses.replace(manifest.target, compute="fp16") if emulate else manifest.target
    precision = _precision(manifest.options, target, ready.program.path)
    facts = manifest.model or ModelFacts(ready.program.path.name, "", "", "feature-extraction")
    checked = limits_for(limits_name(precision, target), limits, routed=find(facts.model_type).routed)
    how = Comparison(facts.name, manifest.outputs, facts.task != "feature-extraction", manifest.rules.frames)
    samples = [sample for sample in _samples(ready, recipe, texts) if counts(sample, target)]
    numbers = list(_numbers_of(recipe, model, samples))
    run = partial(_run_rows, ready)
    if emulate:
        with open_emulated(model, precision, buckets=manifest.buckets) as session:
            result = verify(numbers, partial(run, session), how, checked, EMULATED)
    else:
        plain = target.compute == "fp32" and not runs_itself(target)
        where = HOST if plain else f"{target.compute} on {target.backend}"
        with ready.session() as session:
            result = verify(numbers, partial(run, session), how, checked, where)
    if recipe is None:
        result = dataclasses.replace(result, reference="the program's own graph in fp32 on the host")
    if check:
        refuse(result, how.name, *_advice(model, precision, numbers, result))
    return result


def _samples(ready: Ready, recipe: Recipe | None, texts: Sequence[str]) -> list[Sample]:
    """Random rows and texts that fit the program's buckets."""
    manifest = ready.program.manifest
    config = recipe.origin.config() if recipe else hub.read_config(ready.program.path)
    if manifest.text is None or manifest.text.tokenizer is None:
        refuse_texts(texts, str(ready.program.path))
        tokenizer, limit = None, LONGEST
    else:
        tokenizer, limit = ready.tokenizer, manifest.text.max_length
    ends, longest = bool(recipe and recipe.pools_end), manifest.buckets[-1].length
    return all_samples(
        config,
        manifest.inputs,
        manifest.rules,
        tokenizer,
        texts,
        longest=longest,
        limit=limit,
        ends=ends,
        tables=manifest.tables,
    )


def _numbers_of(recipe: Recipe | None, model: OnnxModel, samples: Sequence[Sample]) -> Iterator[Reference]:
    if recipe is None:
        with host_session(model, bucket_of(model.inputs, samples), plain=True) as session:
            yield from ((sample, session.run(sample.inputs)) for sample in samples)
        return
    from QEfficient.auto.torch_stages import reference_run

    run = reference_run(recipe, float32=True)
    yield from ((sample, run(sample.inputs)) for sample in samples)
    recipe.origin.release()


def _run_rows(ready: Ready, session: Session, arrays: Mapping[str, Array]) -> Arrays:
    """As ``generate`` runs them: planned, padded to buckets, and cut back; NaN and Inf come through to be counted."""
    manifest = ready.program.manifest
    rules = manifest.rules
    rows = request.rows(arrays, manifest.inputs, rules=rules, buckets=manifest.buckets)
    fill = rules.fill(manifest.text)
    return run_session(session, rows, fill=fill, pads=rules.pads, frames=rules.frames, finite=False)


def located(error: NumericsError, ready: Ready, row: Arrays) -> NumericsError:
    """The error of a run, with the layer in which its first bad row stops being finite, where emulation shows it too.

    Args:
        error: Names the rows.
        ready: The program that was run.
        row: What the first bad row consists of.
    """
    manifest = ready.program.manifest
    arrays = {name: column[None] for name, column in row.items()}
    model = OnnxModel(ready.program.onnx_path, manifest.inputs, manifest.outputs, digest="")
    place = _place(model, arrays, _precision(manifest.options, manifest.target, ready.program.path))
    if not place:
        return error
    what = f"{error.what} In row {error.rows[0]} the first one comes from {place}."
    return NumericsError(what, got=error.got, allowed=error.allowed, do=error.do, rows=error.rows)
