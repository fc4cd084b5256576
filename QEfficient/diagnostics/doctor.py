"""The fp16 doctor as a stage: a graph's diagnosis, node-precision file and rewritten graph, from the cache or made now.

Nothing heavy is imported before the cache has no answer: a program that was compiled with a file of the library's own
is found again without onnx.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from QEfficient.build.request import PRECISION_FILE, CompileRequest
from QEfficient.build.subject import ModelSubject, Subject
from QEfficient.cache import Cache, library_versions, write_envelope
from QEfficient.progress import progress
from QEfficient.records import Json, OnnxModel
from QEfficient.text.facts import preprocessing_key

if TYPE_CHECKING:
    from QEfficient.numerics.diagnosis import Diagnosis
    from QEfficient.numerics.verify import Reference, Sample

NODES_FILE, FOUND_FILE = "nodes.yaml", "diagnosis.json"
STAGE = "doctor"
REFERENCE = "the graph in fp32 on the host"


@dataclass(frozen=True, slots=True)
class DoctorArgs:
    """What ``doctor`` was asked for; ``limits`` as the caller gave them, checked."""

    texts: tuple[str, ...] = ()
    limits: Mapping[str, Json] | None = None
    margin: float | None = None
    rewrite: bool = False


def with_precision_file(request: CompileRequest, subject: ModelSubject) -> CompileRequest:
    """``compile(node_precision_info=True)``: the request with a file of the library's own, where fp16 needs one."""
    model = subject.graph() if request.graph is None else request.graph
    folder = stage(model, subject, DoctorArgs(request.texts, request.limits), Cache())
    done = dataclasses.replace(request, precision_file=None)
    if not (folder / NODES_FILE).is_file():
        return done
    files = {**request.options.files, PRECISION_FILE: folder / NODES_FILE}
    return dataclasses.replace(done, options=dataclasses.replace(request.options, files=files))


def diagnosis(subject: Subject, args: DoctorArgs, cache: Cache) -> Diagnosis:
    """The diagnosis of a model's graph; its files stay in the cache."""
    from QEfficient.numerics.diagnosis import Diagnosis

    folder = stage(subject.graph(), subject, args, cache)
    found = Diagnosis.from_json(json.loads((folder / FOUND_FILE).read_text(encoding="utf-8")))
    nodes, graph = folder / NODES_FILE, folder / "model.onnx"
    return dataclasses.replace(
        found, path=nodes if nodes.is_file() else None, onnx_path=graph if graph.is_file() else None
    )


def stage(model: OnnxModel, subject: Subject, args: DoctorArgs, cache: Cache) -> Path:
    """The folder with what the doctor found and wrote."""
    ingredients: dict[str, Json] = {
        "graph": model.digest,
        "texts": list(args.texts),
        "limits": None if args.limits is None else dict(args.limits),
        "margin": args.margin,
        "rewrite": args.rewrite,
        "longest": subject.text.max_length if subject.text else None,
        "bound": None if subject.bound is None else subject.bound.sizes,
        "versions": library_versions(),
    } | preprocessing_key(subject.folder, subject.tokenizer_keywords())

    def build(workdir: Path) -> None:
        found = _diagnose(model, subject, args, workdir)
        if found.fp32_nodes:
            found.write(workdir / NODES_FILE)
        (workdir / FOUND_FILE).write_text(json.dumps(found.to_json(), indent=1), encoding="utf-8")
        write_envelope(workdir, stage=STAGE, key=ingredients, versions=library_versions(), body={})

    folder, _ = cache.get_or_build(subject.name, STAGE, ingredients, build)
    return folder


def _diagnose(model: OnnxModel, subject: Subject, args: DoctorArgs, workdir: Path) -> Diagnosis:
    from QEfficient.diagnostics.samples import samples_of  # onnx
    from QEfficient.numerics.check import Comparison
    from QEfficient.numerics.doctor import LIMITS, MARGIN, diagnose, refuse_functions
    from QEfficient.numerics.node_costs import node_costs
    from QEfficient.numerics.samples import bucket_of
    from QEfficient.numerics.verify import Criterion

    refuse_functions(model)
    samples = samples_of(subject, model, args.texts, None if subject.bound is None else subject.bound.length)
    frames = subject.rules(model.inputs).frames
    limits = LIMITS if args.limits is None else dataclasses.replace(LIMITS, **args.limits)
    costs = node_costs(model, bucket_of(model.inputs, samples))
    with progress(None, None, "fp16 doctor", "trial") as counted:
        found = diagnose(
            model,
            Criterion(
                _references(model, samples),
                Comparison(subject.name, model.outputs, subject.task.scores, frames),
                limits,
            ),
            margin=MARGIN if args.margin is None else args.margin,
            flops={cost.name: float(cost.flops) for cost in costs},
            rewrite_to=workdir if args.rewrite else None,
            progress=counted,
        )
    before, after = (dataclasses.replace(each, reference=REFERENCE) for each in (found.before, found.after))
    return dataclasses.replace(found, before=before, after=after)


def _references(model: OnnxModel, samples: Sequence[Sample]) -> list[Reference]:
    """What the graph gives in fp32: the export was held to HuggingFace's numbers, and here it is fp16 that counts."""
    from QEfficient.numerics.host import host_session
    from QEfficient.numerics.samples import bucket_of

    with host_session(model, bucket_of(model.inputs, samples)) as session:
        return [(sample, session.run(sample.inputs)) for sample in samples]
