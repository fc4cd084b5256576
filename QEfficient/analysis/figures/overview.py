"""The torch module beside the graph that came of it, and what is known to trouble the card's compiler."""

from __future__ import annotations

from collections.abc import Sequence

from QEfficient.analysis.record import BucketCosts, GraphAnalysis, LintFinding, ModuleAnalysis
from QEfficient.report.drawing import BAD, GOOD, WARN, Figure
from QEfficient.report.formatting import count, label
from QEfficient.report.page import Tile


def transformation(graph: GraphAnalysis, model: ModuleAnalysis | None, buckets: Sequence[BucketCosts]) -> Figure:
    """Before and after, as a table."""
    same = next((one for one in buckets if model is not None and one.bucket == model.bucket), None)
    flops = f"FLOPs at {label(same.bucket)}" if same else "FLOPs"
    after = {
        "what": f"ONNX graph, opset {graph.opset}",
        "parameters": f"{graph.parameters:,}",
        flops: f"{same.flops:,}" if same else "",
        "parts": _parts(graph),
        "inputs": ", ".join(f"{name}: {shape}" for name, shape in graph.inputs.items()),
        "outputs": ", ".join(f"{name}: {shape}" for name, shape in graph.outputs.items()),
    }
    before = dict.fromkeys(after, "")
    if model is not None:
        before |= {
            "what": f"{model.model_class}, {model.dtype}",
            "parameters": f"{model.parameters:,}",
            flops: f"{model.flops:,}" if same else "",
            "parts": count(len(model.modules), "module"),
        }
    rows = tuple((name, before[name], value) for name, value in after.items())
    columns = ("", "before: torch" if model else "before: a saved program has no torch module", "after: graph")
    return Figure("transformation", "Before and after transformation", columns=columns, table=rows)


def _parts(graph: GraphAnalysis) -> str:
    text = count(graph.nodes, "node")
    if graph.functions:
        text += f", {count(sum(graph.functions.values()), 'call')} of {count(len(graph.functions), 'function')}"
    return text


def lint_tile(found: Sequence[LintFinding]) -> Tile:
    """How many findings there are; errors stand out."""
    errors = sum(one.level == "error" for one in found)
    kind = BAD if errors else WARN if any(one.level == "warning" for one in found) else GOOD
    return Tile("lint findings", str(len(found)), count(errors, "error"), kind)


def lint(found: Sequence[LintFinding]) -> Figure:
    """What is known to trouble the compiler or to run slowly on the card, as a table."""
    columns = ("level", "rule", "where", "finding", "what to do", "source")
    rows = tuple(
        (one.level, one.rule, _some(one.modules or one.nodes) or "whole graph", one.text, one.do, one.source)
        for one in found
    )
    return Figure("lint", "Lint", missing="No findings.", columns=columns, table=rows)


def _some(names: tuple[str, ...]) -> str:
    shown = ", ".join(names[:3])
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown
