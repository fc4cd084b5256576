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

from QEfficient import hub
from QEfficient.build.request import CompileRequest
from QEfficient.build.stages import export_stage
from QEfficient.build.subject import rules_of
from QEfficient.cache import Cache, file_digest, library_versions, write_envelope
from QEfficient.errors import UsageError
from QEfficient.inference.loaded_program import LoadedProgram
from QEfficient.progress import progress
from QEfficient.records import Json, OnnxModel, TextFacts
from QEfficient.source.recipe import Recipe, tokenizer_keywords
from QEfficient.text.facts import preprocessing_files

if TYPE_CHECKING:
    from QEfficient.numerics.diagnosis import Diagnosis
    from QEfficient.numerics.verify import Reference, Sample

OPTION = "node_precision_info"
NODES_FILE, FOUND_FILE = "nodes.yaml", "diagnosis.json"
STAGE = "doctor"
REFERENCE = "the graph in fp32 on the host"


@dataclass(frozen=True, slots=True)
class Patient:
    """Whose graph it is.

    Attributes:
        name: The model's.
        config: Its config.
        recipe: Where the graph comes from; ``None``: a saved program.
        loaded: The saved program.
        text: The text side; its limit is the longest row.
    """

    name: str
    config: Mapping[str, Json]
    recipe: Recipe | None
    loaded: LoadedProgram | None
    text: TextFacts | None

    @classmethod
    def of(cls, recipe: Recipe | None, loaded: LoadedProgram | None, text: TextFacts | None) -> Patient:
        """Of a model, or of a saved program."""
        if recipe is not None:  # a program of it may have other buckets: they change nothing
            return cls(recipe.origin.name, recipe.origin.config(), recipe, None, text)
        assert loaded is not None  # an object has a model or a program
        facts = loaded.program.manifest.model
        name = facts.name if facts else loaded.program.path.name
        return cls(name, hub.read_config(loaded.program.path), None, loaded, loaded.program.manifest.text)

    @property
    def folder(self) -> Path | None:
        """Where the tokenizer's files stand."""
        return self.recipe.origin.folder if self.recipe else self.loaded.program.path if self.loaded else None


@dataclass(frozen=True, slots=True)
class DoctorArgs:
    """What ``doctor`` was asked for; ``limits`` as the caller gave them, checked."""

    texts: tuple[str, ...] = ()
    limits: Mapping[str, Json] | None = None
    margin: float | None = None
    rewrite: bool = False


def with_precision_file(
    request: CompileRequest, recipe: Recipe, text: TextFacts, cache: Cache, onnx: OnnxModel | None
) -> CompileRequest:
    """``compile(node_precision_info=True)``: the request with a file of the library's own, where fp16 needs one.

    Args:
        request: What is compiled; its texts and limits are the doctor's too.
        recipe: Where the graph comes from.
        text: The model's text side.
        cache: Looked into first.
        onnx: A graph of the caller's in place of the recipe's.
    """
    model = onnx if onnx is not None else export_stage(recipe, cache)
    folder = stage(model, Patient.of(recipe, None, text), DoctorArgs(request.texts, request.limits), cache)
    if not (folder / NODES_FILE).is_file():
        return request
    files = {**request.options.files, OPTION: folder / NODES_FILE}
    return dataclasses.replace(request, options=dataclasses.replace(request.options, files=files))


def diagnosis(model: OnnxModel, patient: Patient, args: DoctorArgs, cache: Cache) -> Diagnosis:
    """The diagnosis of a graph; its files stay in the cache."""
    from QEfficient.numerics.diagnosis import Diagnosis

    folder = stage(model, patient, args, cache)
    found = Diagnosis.from_json(json.loads((folder / FOUND_FILE).read_text(encoding="utf-8")))
    nodes, graph = folder / NODES_FILE, folder / "model.onnx"
    return dataclasses.replace(
        found, path=nodes if nodes.is_file() else None, onnx_path=graph if graph.is_file() else None
    )


def stage(model: OnnxModel, patient: Patient, args: DoctorArgs, cache: Cache) -> Path:
    """The folder with what the doctor found and wrote."""
    if model.functions:
        raise UsageError(
            "The graph has functions: a node inside one stands for a node of every layer, so no file can name it.",
            got="use_onnx_subfunctions=True",
            allowed="a graph without functions",
            do="leave use_onnx_subfunctions out",
        )
    files = preprocessing_files(patient.folder) if patient.folder else ()
    ingredients: dict[str, Json] = {
        "graph": model.digest,
        "texts": list(args.texts),
        "limits": None if args.limits is None else dict(args.limits),
        "margin": args.margin,
        "rewrite": args.rewrite,
        "longest": patient.text.max_length if patient.text else None,
        "buckets": [b.sizes for b in patient.loaded.program.manifest.buckets] if patient.loaded else [],
        "preprocessing": {path.name: file_digest(path) for path in files},
        "tokenizer": tokenizer_keywords(patient.recipe.origin) if patient.recipe else {},
        "versions": library_versions(),
    }

    def build(workdir: Path) -> None:
        found = _diagnose(model, patient, args, workdir)
        if found.fp32_nodes:
            found.write(workdir / NODES_FILE)
        (workdir / FOUND_FILE).write_text(json.dumps(found.to_json(), indent=1), encoding="utf-8")
        write_envelope(workdir, stage=STAGE, key=ingredients, versions=library_versions(), body={})

    folder, _ = cache.get_or_build(patient.name, STAGE, ingredients, build)
    return folder


def _diagnose(model: OnnxModel, patient: Patient, args: DoctorArgs, workdir: Path) -> Diagnosis:
    from QEfficient.analysis.costs import node_costs
    from QEfficient.numerics.check import Comparison
    from QEfficient.numerics.doctor import LIMITS, MARGIN, diagnose
    from QEfficient.numerics.samples import bucket_of

    samples = _samples(model, patient, args.texts)
    frames = rules_of(patient.loaded, patient.recipe, model.inputs).frames
    embeds = patient.recipe.task.embeds if patient.recipe else _embeds(patient.loaded)
    limits = LIMITS if args.limits is None else dataclasses.replace(LIMITS, **args.limits)
    costs = node_costs(model, bucket_of(model.inputs, samples))
    with progress(None, None, "fp16 doctor", "trial") as counted:
        found = diagnose(
            model,
            _references(model, samples),
            Comparison(patient.name, model.outputs, not embeds, frames),
            limits=limits,
            margin=MARGIN if args.margin is None else args.margin,
            flops={cost.name: float(cost.flops) for cost in costs},
            rewrite_to=workdir if args.rewrite else None,
            progress=counted,
        )
    before, after = (dataclasses.replace(each, reference=REFERENCE) for each in (found.before, found.after))
    return dataclasses.replace(found, before=before, after=after)


def _embeds(loaded: LoadedProgram | None) -> bool:
    facts = loaded.program.manifest.model if loaded else None
    return facts is None or facts.task == "feature-extraction"


def _samples(model: OnnxModel, patient: Patient, texts: Sequence[str]) -> list[Sample]:
    """As ``verify`` runs them; of a model that is not compiled up to its own limit."""
    from QEfficient.diagnostics.buckets import tokenizer_of
    from QEfficient.numerics.samples import LONGEST, all_samples
    from QEfficient.onnx_transforms import tables

    tokenizer = tokenizer_of(patient.loaded, patient.recipe, patient.text)
    if tokenizer is None or patient.text is None:
        if texts:
            raise UsageError(
                "This model has no tokenizer, so it can't be diagnosed on texts.",
                got=f"{len(texts)} texts",
                allowed="a model that was loaded by name, from a repo whose tokenizer has a fast form",
                do="leave texts out: random rows are run then",
            )
        tokenizer, limit = None, LONGEST
    else:
        limit = patient.text.max_length
    buckets = patient.loaded.program.manifest.buckets if patient.loaded else ()
    longest = buckets[-1].length if buckets else None
    ends = patient.recipe.pools_end if patient.recipe else False
    rules = rules_of(patient.loaded, patient.recipe, model.inputs)
    return all_samples(
        patient.config,
        model.inputs,
        rules,
        tokenizer,
        texts,
        longest=longest,
        limit=limit,
        ends=ends,
        tables=tables(model.path),
    )


def _references(model: OnnxModel, samples: Sequence[Sample]) -> list[Reference]:
    """What the graph gives in fp32: the export was held to HuggingFace's numbers, and here it is fp16 that counts."""
    from QEfficient.numerics.host import host_session
    from QEfficient.numerics.samples import bucket_of

    with host_session(model, bucket_of(model.inputs, samples)) as session:
        return [(sample, session.run(sample.inputs)) for sample in samples]
