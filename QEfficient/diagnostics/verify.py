"""``verify``: what a compiled program computes, beside HuggingFace's numbers."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from functools import partial

from QEfficient.architectures import find
from QEfficient.backends.base import Arrays, Session
from QEfficient.build.check import EMULATED, advice, counts, runs_itself
from QEfficient.build.subject import Subject
from QEfficient.diagnostics.samples import samples_of
from QEfficient.inference.loaded_program import LoadedProgram
from QEfficient.numerics.check import Array, Comparison
from QEfficient.numerics.emulate import computed_in, limits_name, open_emulated
from QEfficient.numerics.host import HOST
from QEfficient.numerics.verify import Verification, limits_for, refuse, verify
from QEfficient.records import OnnxModel
from QEfficient.runtime.run import How, run_rows


def verify_subject(
    subject: Subject, texts: Sequence[str], limits: object, *, emulate: bool, check: bool
) -> Verification:
    """What a compiled program computes, against HuggingFace's numbers.

    Args:
        subject: The model, compiled, or a saved program, which is compared with its own graph in fp32.
        texts: Further texts to run.
        limits: As :func:`QEfficient.numerics.verify.limits_for` takes them.
        emulate: Run the card's arithmetic on the host in place of the program.
        check: Raise when a limit does not hold.

    Raises:
        VerificationError: A limit does not hold.
    """
    loaded = subject.loaded
    assert loaded is not None  # its caller refuses a model that is not compiled
    manifest = loaded.program.manifest
    model = OnnxModel(loaded.program.onnx_path, manifest.inputs, manifest.outputs, digest="")
    target = dataclasses.replace(manifest.target, compute="fp16") if emulate else manifest.target
    precision = computed_in(manifest.options, target, loaded.program.path)
    routed = find(manifest.model.model_type if manifest.model else "").routed
    checked = limits_for(limits_name(precision, target), limits, routed=routed)
    how = Comparison(subject.name, manifest.outputs, subject.task.scores, manifest.rules.frames)
    samples = [
        sample for sample in samples_of(subject, model, texts, manifest.shapes[-1].length) if counts(sample, target)
    ]
    numbers = list(subject.references(model, samples))
    run = partial(_run_rows, loaded)
    if emulate:
        with open_emulated(model, precision, buckets=manifest.shapes) as session:
            result = verify(numbers, partial(run, session), how, checked, EMULATED)
    else:
        plain = target.compute == "fp32" and not runs_itself(target)
        where = HOST if plain else f"{target.compute} on {target.backend}"
        with loaded.session() as session:
            result = verify(numbers, partial(run, session), how, checked, where)
    result = dataclasses.replace(result, reference=subject.reference)
    if check:
        refuse(result, how.name, *advice(model, precision, numbers, result))
    return result


def _run_rows(loaded: LoadedProgram, session: Session, arrays: Mapping[str, Array]) -> Arrays:
    """As ``generate`` runs them: planned, padded to buckets, and cut back; NaN and Inf come through to be counted."""
    rules = loaded.program.manifest.rules
    fill = rules.fill(loaded.program.manifest.text)
    return run_rows(session, loaded.rows(arrays), How(fill, rules.pads, rules.frames, finite=False))
