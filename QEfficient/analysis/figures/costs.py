"""Figures of what a model costs: roofline, FLOPs by module, operators, weights."""

from __future__ import annotations

import re
from collections.abc import Sequence

from QEfficient.analysis.record import BucketCosts, CardFit, GraphAnalysis, RooflinePoint, WeightBytes
from QEfficient.report.drawing import SERIES, Bars, Box, Dot, Figure, Line, Mark, Note, Plot, Row, across, bar, upright
from QEfficient.report.formatting import count, label, number, share, size
from QEfficient.report.page import Tile
from QEfficient.report.scale import Scale, linear, logarithmic

_ROWS = 12  # a bar chart longer than this is a list


def tiles(graph: GraphAnalysis, longest: BucketCosts, fits: Sequence[CardFit]) -> list[Tile]:
    """The model's size, what a run of its longest bucket takes, and how many cards hold it."""
    found = [
        Tile("parameters", number(graph.parameters)),
        Tile("weights in fp16", size(graph.weights.fp16)),
        Tile("FLOPs a run", number(longest.flops), f"at {label(longest.bucket)}"),
        Tile("peak activations", size(longest.peak.fp16), f"fp16, at {label(longest.bucket)}"),
    ]
    fit = next((fit for fit in fits if fit.precision == "fp16"), None)
    return found if fit is None else [*found, Tile("fits on", count(fit.cards, "card"), f"{fit.card}, fp16")]


def roofline(points: Sequence[RooflinePoint]) -> Figure:
    """Each card's roof, and each bucket on it."""
    title = "Roofline of the cards"
    points = [point for point in points if point.intensity > 0]  # without FLOPs there is no place for one
    if not points:
        return Figure("roofline", title, missing="No card was asked for, or the graph has no matrix product.")
    cards = list(dict.fromkeys(point.card for point in points))
    kinds = dict(zip(cards, SERIES * len(cards), strict=False))
    x = logarithmic([*(point.intensity for point in points), *(point.ridge * 3 for point in points)])
    y = logarithmic([*(_peak(point) for point in points), *(point.attainable_tflops / 3 for point in points)])
    roofs = [_roof(next(one for one in points if one.card == card), kinds[card], x, y) for card in cards]
    dots = [
        Dot(x.at(point.intensity), 100 - y.at(point.attainable_tflops), kinds[point.card], _tip(point))
        for point in points
    ]
    names = _names([point for point in points if point.card == cards[0]], x)
    marks: tuple[Mark, ...] = (*reversed(roofs), *names, *reversed(dots))  # the first card on top
    plot = Plot("arithmetic intensity in FLOPs a byte", "TFLOPS at most (fp16)", across(x), upright(y), marks, 320)
    return Figure(
        "roofline",
        title,
        "What one SoC of a card can reach at most: a limit, not a prediction.",
        "Left of a roof's corner a run waits for memory, right of it for the matrix unit.",
        (plot,),
        legend=tuple((kinds[card], card) for card in cards),
        columns=("card", "bucket", "FLOPs/byte", "TFLOPS at most", "bound by", "takes at least", "activations on chip"),
        table=tuple(map(_point, points)),
    )


def _roof(point: RooflinePoint, kind: str, x: Scale, y: Scale) -> Line:
    """The roof that a point lies on or under."""
    peak = _peak(point)
    start = max(x.low, y.low * point.ridge / peak)
    corners = ((start, peak * start / point.ridge), (point.ridge, peak), (x.high, peak))
    tip = f"{point.card}: {number(peak)} TFLOPS, corner at {number(point.ridge)} FLOPs/byte"
    return Line(tuple((x.at(one), 100 - y.at(other)) for one, other in corners), kind, tip)


def _point(point: RooflinePoint) -> tuple[str, ...]:
    return (
        point.card,
        label(point.bucket),
        number(point.intensity),
        number(point.attainable_tflops),
        point.bound,
        f"{number(point.milliseconds)} ms",
        "no" if point.spills else "yes",
    )


def modules(costs: BucketCosts) -> Figure:
    """FLOPs of each module; those that differ by a number in their path only, as repeated layers do, are one line."""
    title = "FLOPs by module"
    groups: dict[str, list[int]] = {}
    for module in costs.modules:
        groups.setdefault(re.sub(r"(?<![^.])\d+(?![^.])", "*", module.path), []).append(module.flops)
    sums = sorted(((sum(flops), len(flops), path) for path, flops in groups.items()), reverse=True)
    total = sum(flops for flops, _, _ in sums) or 1
    scale = linear([flops / total for flops, _, _ in sums])
    rows = [
        Row(
            (path or "not in any module") + (f" ({many} modules)" if many > 1 else ""),
            f"{number(flops)} · {share(flops / total)}",
            (bar(scale, flops / total, "one", f"{path}: {number(flops)} FLOPs"),),
        )
        for flops, many, path in sums[:_ROWS]
        if flops
    ]
    text = f"Matrix products and convolutions of one run at {label(costs.bucket)}."
    if not rows:
        return Figure("modules", title, text, missing="The graph has no matrix product and no convolution.")
    table = tuple(
        (one.path or "not in any module", number(one.flops), share(one.flops / total), number(one.vector_ops))
        for one in costs.modules
    )
    columns = ("module", "FLOPs", "share", "other operations")
    reading = "Modules that differ in a number only are one bar: * stands for the number."
    return Figure("modules", title, text, reading, (Bars(tuple(rows)),), columns=columns, table=table)


def operators(costs: BucketCosts) -> Figure:
    """How many nodes of each operator there are, and their FLOPs."""
    title = "Operators"
    nodes = sum(one.count for one in costs.operators) or 1
    flops = costs.flops or 1
    ordered = sorted(costs.operators, key=lambda one: (-one.flops, -one.count, one.op))
    rows = tuple(
        Row(
            one.op,
            f"{one.count} nodes · {share(one.flops / flops)} of FLOPs",
            (
                Box(0, 0, 100 * one.count / nodes, 45, "two", f"{one.count} of {nodes} nodes"),
                Box(0, 55, 100 * one.flops / flops, 45, "one", f"{number(one.flops)} FLOPs"),
            ),
        )
        for one in ordered[:_ROWS]
    )
    text = f"Shares of all nodes and of all FLOPs of one run at {label(costs.bucket)}."
    reading = f"The {_ROWS} costliest of {len(ordered)}; the table has all." if len(ordered) > _ROWS else ""
    table = tuple(
        (one.op, str(one.count), number(one.flops), number(one.vector_ops), size(one.bytes)) for one in ordered
    )
    columns = ("operator", "nodes", "FLOPs", "other operations", "bytes")
    legend = (("two", "nodes"), ("one", "FLOPs"))
    if not rows:
        return Figure("operators", title, missing="The graph is empty.")
    return Figure("operators", title, text, reading, (Bars(rows),), legend=legend, columns=columns, table=table)


def weights(found: WeightBytes) -> Figure:
    """Weights in each form that a card stores."""
    forms = (
        ("fp32", found.fp32, "as exported"),
        ("fp16", found.fp16, "-convert-to-fp16"),
        ("MXFP6", found.mxfp6, "matrix products in MXFP6, the rest fp16"),
        ("int8", found.int8, "matrix products and convolutions in int8, the rest fp16"),
    )
    scale = linear(held for _, held, _ in forms)
    rows = tuple(
        Row(f"{name}: {how}", size(held), (bar(scale, held, "one", f"{name}: {held} bytes"),))
        for name, held, how in forms
    )
    table = tuple((name, how, size(held)) for name, held, how in forms)
    text = "All weights at each precision."
    columns = ("precision", "how", "bytes")
    return Figure("weights", "Weights", text, drawings=(Bars(rows),), columns=columns, table=table)


def fits(found: Sequence[CardFit]) -> Figure:
    """How many cards the model needs, as a table."""
    text = "Weights at each precision with the activations of the largest bucket."
    columns = ("card", "weights", "bytes", "SoCs", "cards")
    rows = tuple((fit.card, fit.precision, size(fit.bytes), str(fit.socs), str(fit.cards)) for fit in found)
    return Figure("fits", "Cards that it fits on", text, missing="No card was asked for.", columns=columns, table=rows)


def buckets(found: Sequence[BucketCosts]) -> Figure:
    """The buckets as a table."""
    columns = ("bucket", "FLOPs", "other operations", "activations moved", "weights read", "inputs and outputs")
    peak = ("peak activations fp16", "peak at")
    rows = tuple(map(_bucket, found))
    text = "One run of each: bytes moved are those of all nodes in fp16, the peak is what lives at one time."
    return Figure("buckets", "Buckets", text, columns=columns + peak, table=rows)


def _bucket(costs: BucketCosts) -> tuple[str, ...]:
    return (
        label(costs.bucket),
        number(costs.flops),
        number(costs.vector_ops),
        size(costs.activation_bytes),
        size(costs.weight_bytes),
        size(costs.io_bytes),
        size(costs.peak.fp16),
        costs.peak.module or costs.peak.node,
    )


def _peak(point: RooflinePoint) -> float:
    """The level part of the roof that a point lies on."""
    return point.attainable_tflops * max(1.0, point.ridge / point.intensity)


def _tip(point: RooflinePoint) -> str:
    return (
        f"{point.card}, {label(point.bucket)}: {number(point.intensity)} FLOPs/byte, "
        f"at most {number(point.attainable_tflops)} TFLOPS, bound by {point.bound}"
    )


def _names(points: Sequence[RooflinePoint], x: Scale) -> list[Note]:
    """Names of the buckets below their points, as far as there is room for them."""
    notes: list[Note] = []
    for point in sorted(points, key=lambda point: point.intensity):
        at = x.at(point.intensity)
        if not notes or at - notes[-1].x > 9:
            notes.append(Note(at, 97, label(point.bucket)))
    return notes
