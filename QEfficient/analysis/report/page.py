"""The page: heading, tiles, figures and tables in order, and the template that they go into."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from QEfficient.analysis.record import Analysis
from QEfficient.analysis.report import costs, lengths, ranges, speed, verification
from QEfficient.analysis.report.drawing import BAD, GOOD, WARN, Bars, Figure
from QEfficient.analysis.report.words import count, label, number, size

FIGURES: tuple[Callable[[Analysis], Figure], ...] = (
    costs.roofline,
    ranges.ranges,
    speed.speed,
    lengths.lengths,
    costs.modules,
    costs.operators,
    verification.verification,
    costs.weights,
)


@dataclass(frozen=True, slots=True)
class Tile:
    """One number of the summary. ``kind``: a class of the style sheet, ``""`` for a plain one."""

    name: str
    value: str
    note: str = ""
    kind: str = ""


def render(analysis: Analysis) -> str:
    """The whole page as HTML.

    Everything that comes from the model is escaped. The page holds no script and no address, and its content policy
    allows neither.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("QEfficient.analysis.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"at": lambda value: f"{value:.2f}%", "coordinate": lambda value: f"{value:.2f}"}
    environment.tests["bars"] = lambda drawing: isinstance(drawing, Bars)
    return environment.get_template("report.html").render(
        analysis=analysis,
        tiles=tiles(analysis),
        figures=[draw(analysis) for draw in FIGURES],
        tables=[
            before_and_after(analysis),
            costs.buckets(analysis),
            costs.fits(analysis),
            lint(analysis),
            ranges.findings(analysis),
        ],
        worst=verification.worst_rows(analysis),
    )


def tiles(analysis: Analysis) -> list[Tile]:
    """The summary: one number each."""
    graph = analysis.graph
    found = [Tile("parameters", number(graph.parameters)), Tile("weights in fp16", size(graph.weights.fp16))]
    if analysis.buckets:
        longest = analysis.buckets[-1]
        found.append(Tile("FLOPs a run", number(longest.flops), f"at {label(longest.bucket)}"))
        found.append(Tile("peak activations", size(longest.peak.fp16), f"fp16, at {label(longest.bucket)}"))
    fit = next((fit for fit in analysis.fits if fit.precision == "fp16"), None)
    if fit is not None:
        found.append(Tile("fits on", count(fit.cards, "card"), f"{fit.card}, fp16"))
    return [*found, _speed(analysis), _lint(analysis), _risk(analysis), _check(analysis)]


def _speed(analysis: Analysis) -> Tile:
    if not analysis.predictions:
        return Tile("samples/s, predicted", "–", "not predicted")
    first = analysis.predictions[0].card
    longest = max(one.bucket for one in analysis.predictions)
    shown = [one for one in analysis.predictions if (one.card, one.bucket) == (first, longest)]
    best = max(shown, key=lambda one: one.samples_per_second)
    return Tile("samples/s, predicted", number(best.samples_per_second), f"{best.card}, at {label(best.bucket)}")


def _lint(analysis: Analysis) -> Tile:
    errors = sum(one.level == "error" for one in analysis.lint)
    kind = BAD if errors else WARN if any(one.level == "warning" for one in analysis.lint) else GOOD
    return Tile("lint findings", str(len(analysis.lint)), count(errors, "error"), kind)


def _risk(analysis: Analysis) -> Tile:
    if analysis.risk is None:
        return Tile("fp16 findings", "–", "not measured")
    found = len(analysis.risk.findings)
    note = f"in {count(len(analysis.risk.ranges), 'node')}"
    return Tile("fp16 findings", str(found), note, WARN if found else GOOD)


def _check(analysis: Analysis) -> Tile:
    found = verification.read(analysis.verification)
    if found is None:
        return Tile("verification", "–", "not run")
    note = f"min cosine {found.min_cosine:.7g}"
    return Tile("verification", "passed" if found.passed else "FAILED", note, GOOD if found.passed else BAD)


def before_and_after(analysis: Analysis) -> Figure:
    """The torch module beside the graph that came of it."""
    graph, model = analysis.graph, analysis.model
    same = next((one for one in analysis.buckets if model is not None and one.bucket == model.bucket), None)
    flops = f"FLOPs at {label(same.bucket)}" if same else "FLOPs"
    after = {
        "what": f"ONNX graph, opset {graph.opset}",
        "parameters": f"{graph.parameters:,}",
        flops: f"{same.flops:,}" if same else "",
        "parts": _parts(analysis),
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


def _parts(analysis: Analysis) -> str:
    graph, text = analysis.graph, count(analysis.graph.nodes, "node")
    if graph.functions:
        text += f", {count(sum(graph.functions.values()), 'call')} of {count(len(graph.functions), 'function')}"
    return text


def lint(analysis: Analysis) -> Figure:
    """What is known to trouble the compiler or to run slowly on the card, as a table."""
    columns = ("level", "rule", "where", "finding", "what to do", "source")
    rows = tuple(
        (one.level, one.rule, _some(one.modules or one.nodes) or "whole graph", one.text, one.do, one.source)
        for one in analysis.lint
    )
    return Figure("lint", "Lint", missing="No findings.", columns=columns, table=rows)


def _some(names: tuple[str, ...]) -> str:
    shown = ", ".join(names[:3])
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown
