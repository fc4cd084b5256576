"""One function that finds everything about a graph: ``analyze``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import onnx_ir as ir

from QEfficient.analysis.cards import CARDS, Card, fits, roofline
from QEfficient.analysis.costs import bucket_costs
from QEfficient.analysis.graph import walk
from QEfficient.analysis.lengths import fill
from QEfficient.analysis.lint import Subject, lint
from QEfficient.analysis.memory import Weight, weight_bytes, weights_of
from QEfficient.analysis.record import Analysis, GraphAnalysis, ModuleAnalysis, ModuleCosts, Risk, SpeedPoint
from QEfficient.cache import library_versions
from QEfficient.onnx_transforms import weights
from QEfficient.onnx_transforms.graph_file import read
from QEfficient.records import Bucket, Json, OnnxModel, TensorSpec


def analyze(
    model: OnnxModel,
    buckets: Sequence[Bucket],
    *,
    name: str = "",
    module: ModuleAnalysis | None = None,
    rows: Sequence[int] | None = None,
    limit: int | None = None,
    risk: Risk | None = None,
    predictions: Sequence[SpeedPoint] = (),
    verification: Mapping[str, Json] | None = None,
    cards: Sequence[Card] = CARDS,
) -> Analysis:
    """Analyses a graph on disk. No large weight is held in memory.

    Args:
        model: The graph.
        buckets: The shapes to analyse, at least one.
        name: The model's name.
        module: What is known of it before transformation.
        rows: Lengths of given texts in tokens.
        limit: Tokens after which the model shortens a text.
        risk: fp16 risk, where it was measured.
        predictions: Predicted speed.
        verification: Result of the numeric check, as a manifest has it.
        cards: For the rooflines.

    Raises:
        UsageError: The graph can't take one of the buckets.
        CorruptArtefactError: The graph or its data can't be read.
    """
    loaded = read(model.path)
    held = weights_of(loaded)
    costs = tuple(bucket_costs(model, bucket) for bucket in sorted(buckets))
    graph = _graph(model, loaded, held)
    return Analysis(
        name=name or model.path.stem,
        graph=graph,
        buckets=costs,
        lint=lint(Subject(loaded, walk(model, costs[0].bucket), held, costs)),
        roofline=tuple(roofline(each, card) for card in cards for each in costs),
        fits=tuple(fit for card in cards for fit in fits(graph.weights, costs, card)),
        model=module,
        lengths=None if rows is None else fill(rows, buckets, limit),
        risk=risk,
        predictions=tuple(predictions),
        verification=verification,
        versions=library_versions(),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _graph(model: OnnxModel, loaded: ir.Model, held: Sequence[Weight]) -> GraphAnalysis:
    sizes: Counter[str] = Counter()
    for weight in held:
        if weight.floating:
            sizes[weight.module] += weight.elements
    calls = Counter(node.op_identifier() for node in weights.nodes(loaded))
    return GraphAnalysis(
        digest=model.digest,
        opset=loaded.graph.opset_imports.get("", 0),
        inputs={spec.name: _text(spec) for spec in model.inputs},
        outputs={spec.name: _text(spec) for spec in model.outputs},
        nodes=calls.total(),
        functions={identifier[1]: calls[identifier] for identifier in loaded.functions},
        parameters=sizes.total(),
        modules=tuple(ModuleCosts(path, parameters=size) for path, size in sizes.items()),
        weights=weight_bytes(held),
    )


def _text(spec: TensorSpec) -> str:
    return f"{spec.dtype}[{', '.join(map(str, spec.shape))}]"
