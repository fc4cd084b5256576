"""``verify``: what a compiled program computes, beside HuggingFace's numbers."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from QEfficient import hub
from QEfficient.architectures import find
from QEfficient.backends.base import Arrays, Session
from QEfficient.build.check import EMULATED, advice, counts, runs_itself
from QEfficient.inference.arrays import rows as rows_of
from QEfficient.inference.loaded_program import LoadedProgram
from QEfficient.numerics.check import Array, Comparison
from QEfficient.numerics.emulate import computed_in, limits_name, open_emulated
from QEfficient.numerics.host import HOST, host_session
from QEfficient.numerics.samples import LONGEST, all_samples, bucket_of, refuse_texts
from QEfficient.numerics.verify import Reference, Sample, Verification, limits_for, refuse, verify
from QEfficient.records import ModelFacts, OnnxModel
from QEfficient.runtime.run import run as run_session

if TYPE_CHECKING:
    from QEfficient.source.recipe import Recipe


def verify_loaded(
    loaded: LoadedProgram, recipe: Recipe | None, texts: Sequence[str], limits: object, *, emulate: bool, check: bool
) -> Verification:
    """What a compiled program computes, against HuggingFace's numbers.

    Args:
        loaded: The program.
        recipe: The model that it was made of; ``None``: a saved program is compared with its own graph in fp32.
        texts: Further texts to run.
        limits: As :func:`QEfficient.numerics.verify.limits_for` takes them.
        emulate: Run the card's arithmetic on the host in place of the program.
        check: Raise when a limit does not hold.

    Raises:
        VerificationError: A limit does not hold.
    """
    manifest = loaded.program.manifest
    model = OnnxModel(loaded.program.onnx_path, manifest.inputs, manifest.outputs, digest="")
    target = dataclasses.replace(manifest.target, compute="fp16") if emulate else manifest.target
    precision = computed_in(manifest.options, target, loaded.program.path)
    facts = manifest.model or ModelFacts(loaded.program.path.name, "", "", "feature-extraction")
    checked = limits_for(limits_name(precision, target), limits, routed=find(facts.model_type).routed)
    how = Comparison(facts.name, manifest.outputs, facts.task != "feature-extraction", manifest.rules.frames)
    samples = [sample for sample in _samples(loaded, recipe, texts) if counts(sample, target)]
    numbers = list(_numbers_of(recipe, model, samples))
    run = partial(_run_rows, loaded)
    if emulate:
        with open_emulated(model, precision, buckets=manifest.buckets) as session:
            result = verify(numbers, partial(run, session), how, checked, EMULATED)
    else:
        plain = target.compute == "fp32" and not runs_itself(target)
        where = HOST if plain else f"{target.compute} on {target.backend}"
        with loaded.session() as session:
            result = verify(numbers, partial(run, session), how, checked, where)
    if recipe is None:
        result = dataclasses.replace(result, reference="the program's own graph in fp32 on the host")
    if check:
        refuse(result, how.name, *advice(model, precision, numbers, result))
    return result


def _samples(loaded: LoadedProgram, recipe: Recipe | None, texts: Sequence[str]) -> list[Sample]:
    """Random rows and texts that fit the program's buckets."""
    manifest = loaded.program.manifest
    config = recipe.origin.config() if recipe else hub.read_config(loaded.program.path)
    if manifest.text is None or manifest.text.tokenizer is None:
        refuse_texts(texts, str(loaded.program.path))
        tokenizer, limit = None, LONGEST
    else:
        tokenizer, limit = loaded.tokenizer, manifest.text.max_length
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
    from QEfficient.build.torch_stages import reference_run

    run = reference_run(recipe, float32=True)
    yield from ((sample, run(sample.inputs)) for sample in samples)
    recipe.origin.release()


def _run_rows(loaded: LoadedProgram, session: Session, arrays: Mapping[str, Array]) -> Arrays:
    """As ``generate`` runs them: planned, padded to buckets, and cut back; NaN and Inf come through to be counted."""
    manifest = loaded.program.manifest
    rules = manifest.rules
    rows = rows_of(arrays, manifest.inputs, rules=rules, buckets=manifest.buckets)
    fill = rules.fill(manifest.text)
    return run_session(session, rows, fill=fill, pads=rules.pads, frames=rules.frames, finite=False)
