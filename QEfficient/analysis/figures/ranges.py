"""Figures of fp16 risk: the range of every tensor against what fp16 can hold, and what the doctor found."""

from __future__ import annotations

import math

from QEfficient.analysis.record import Risk
from QEfficient.numerics.formats import MAX_FP16
from QEfficient.numerics.ranges import TensorRange
from QEfficient.report.drawing import BAD, GOOD, MUTED, WARN, Dot, Figure, Plot, ReferenceLine, Tick, upright
from QEfficient.report.formatting import count, number
from QEfficient.report.page import Tile
from QEfficient.report.scale import logarithmic, thin

_DOTS = 1500  # more would not be told apart, and make the page slow
_NORMAL = 2.0**-14  # smallest normal number in fp16: below it digits are lost
_MISSING = "The ranges were not measured: the model reads no texts, or analyze(fp16=False) left them out."


def tile(risk: Risk | None) -> Tile:
    """How many nodes do not fit fp16."""
    if risk is None:
        return Tile("fp16 findings", "–", "not measured")
    note = f"in {count(len(risk.ranges), 'node')}"
    return Tile("fp16 findings", str(len(risk.findings)), note, WARN if risk.findings else GOOD)


def ranges(risk: Risk | None) -> Figure:
    """Largest absolute value of every node's output, in graph order."""
    title = "Range of every tensor in fp16"
    if risk is None or not risk.ranges:
        return Figure("ranges", title, missing=_MISSING)
    y = logarithmic([MAX_FP16 * 10, 1.0, *(one.largest for one in risk.ranges)])
    overflow, normal = 100 - y.at(MAX_FP16), 100 - y.at(_NORMAL)
    rules = [ReferenceLine(overflow, "65504: overflows to Inf", BAD)]
    if risk.limit < MAX_FP16:
        rules.append(ReferenceLine(100 - y.at(risk.limit), f"{risk.limit:g}: margin", WARN, below=True))
    if y.low < _NORMAL:
        rules.append(ReferenceLine(normal, "6.1e-5: digits are lost", MUTED))
    width = 100 / len(risk.ranges)
    dots = [
        Dot((index + 0.5) * width, 100 - y.at(one.largest), _kind(one, risk), _tip(one, risk), radius=3)
        for index, one in _shown(risk)
    ]
    plot = Plot("nodes in the order of running", "largest |x|", _layers(risk), upright(y), (*rules, *dots), 320)
    text = f"{count(len(risk.ranges), 'node')} over {count(risk.rows, 'row')} of calibration text."
    reading = "Each dot is one node's output."
    if len(dots) < len(risk.ranges):
        reading += f" {len(dots)} are shown: of neighbours, the largest."
    legend = (("one", "safe"), (WARN, "near overflow, or loses accuracy"), (BAD, "overflows"))
    columns = ("node", "operator", "module", "largest |x|", "smallest |x| but 0")
    worst = sorted(risk.ranges, key=lambda one: -_order(one.largest))[:50]
    table = tuple((one.node, one.op, one.module, number(one.largest), number(one.smallest)) for one in worst)
    return Figure("ranges", title, text, reading, (plot,), legend=legend, columns=columns, table=table)


def findings(risk: Risk | None) -> Figure:
    """What the doctor says of single nodes, as a table."""
    title = "fp16 findings"
    if risk is None:
        return Figure("fp16-findings", title, missing=_MISSING)
    places = {one.node: one for one in risk.ranges}
    rows = []
    for node, text in risk.findings.items():
        one = places.get(node)
        rows.append((node, one.op if one else "", one.module if one else "", number(one.largest) if one else "", text))
    columns = ("node", "operator", "module", "largest |x|", "finding")
    none = f"None in {count(len(places), 'node')} over {count(risk.rows, 'row')}."
    return Figure("fp16-findings", title, missing=none, columns=columns, table=tuple(rows))


def _kind(one: TensorRange, risk: Risk) -> str:
    if not one.largest <= MAX_FP16:  # NaN is no safe value either
        return BAD
    return WARN if one.largest > risk.limit or one.node in risk.findings else "one"


def _tip(one: TensorRange, risk: Risk) -> str:
    where = f"{one.op} in {one.module}" if one.module else one.op
    channel = "" if one.channel is None else f", channel {one.channel}"
    finding = risk.findings.get(one.node)
    return f"{one.node} ({where}): up to {number(one.largest)}{channel}" + (f". {finding}" if finding else "")


def _order(value: float) -> float:
    return math.inf if math.isnan(value) else value


def _shown(risk: Risk) -> list[tuple[int, TensorRange]]:
    """All of them; of a long graph the largest of each group of neighbours, and all that are not safe."""
    numbered = list(enumerate(risk.ranges))
    every = math.ceil(len(numbered) / _DOTS)
    groups = [numbered[start : start + every] for start in range(0, len(numbered), every)]
    chosen = {max(group, key=lambda one: _order(one[1].largest))[0] for group in groups}
    return [(index, one) for index, one in numbered if index in chosen or _kind(one, risk) != "one"]


def _layers(risk: Risk) -> tuple[Tick, ...]:
    """A tick where the first node of each numbered layer stands: ``encoder.layer.3`` is ``"3"``."""
    stacks: dict[str, dict[str, int]] = {}  # path of the layers → number → index of the first node
    for index, one in enumerate(risk.ranges):
        parts = one.module.split(".")
        level = next((place for place, part in enumerate(parts) if part.isdigit()), None)
        if level is not None:
            stacks.setdefault(".".join(parts[:level]), {}).setdefault(parts[level], index)
    tallest = max(stacks.values(), key=len, default={})
    width = 100 / len(risk.ranges)
    shown = thin(list(tallest), 12)
    return tuple(
        Tick(index * width, name if place else f"layer {name}")
        for place, (name, index) in enumerate(tallest.items())
        if name in shown
    )
