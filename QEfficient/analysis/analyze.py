"""One function that finds everything about a graph: ``analyze``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime

import onnx_ir as ir

from QEfficient.analysis.analysis import Analysis
from QEfficient.analysis.cards import CARDS
from QEfficient.analysis.costs import bucket_costs
from QEfficient.analysis.lint import LintContext, lint
from QEfficient.analysis.memory import Weight, weight_bytes, weights_of
from QEfficient.analysis.record import GraphAnalysis, ModuleCosts
from QEfficient.analysis.roofline import fits, roofline
from QEfficient.cache import library_versions
from QEfficient.numerics.walk import walk
from QEfficient.onnx_transforms import weights
from QEfficient.onnx_transforms.graph_file import read
from QEfficient.records import OnnxModel, Shape, TensorSpec


def analyze(model: OnnxModel, buckets: Sequence[Shape], *, name: str = "") -> Analysis:
    """Analyses a graph on disk. No large weight is held in memory.

    What a graph alone does not show (the torch module, texts, fp16 risk, speed, the numeric check) is left empty:
    ``model.analyze()`` adds it.

    Args:
        model: The graph.
        buckets: The shapes to analyse, at least one.
        name: The model's name.

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
        lint=lint(LintContext(loaded, walk(model, costs[0].bucket), held, costs)),
        roofline=tuple(roofline(each, card) for card in CARDS for each in costs),
        fits=tuple(fit for card in CARDS for fit in fits(graph.weights, costs, card)),
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
