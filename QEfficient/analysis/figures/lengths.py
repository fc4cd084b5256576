"""The figure of given texts: how long they are, and how much of each bucket is padding."""

from __future__ import annotations

import math
from collections import Counter

from QEfficient.analysis.record import BucketLoad, Lengths
from QEfficient.report.drawing import MUTED, SERIES, Bars, Box, Figure, Plot, ReferenceLine, Row, across, upright
from QEfficient.report.formatting import number, share
from QEfficient.report.scale import Scale, linear

_BINS = 64


def lengths(found: Lengths | None) -> Figure:
    """Lengths of the texts between the buckets' limits, then real tokens and padding of each bucket."""
    title = "Texts, buckets and padding"
    if found is None or not found.histogram:
        return Figure("lengths", title, missing="No texts were given: pass texts=… to see how they fill the buckets.")
    limits = [bucket.length for bucket in found.buckets]
    x = linear([1.0 * max([*found.histogram, *limits])], ticks=8)
    bins = _bins(found, x)
    y = linear([1.0 * rows for _, _, rows in bins])
    boxes = [
        Box(
            x.at(low),
            100 - y.at(rows),
            x.at(high) - x.at(low),
            y.at(rows),
            SERIES[0],
            f"{low + 1} to {high} tokens: {rows} texts" if high > low + 1 else f"{high} tokens: {rows} texts",
        )
        for low, high, rows in bins
    ]
    rules = [ReferenceLine(x.at(limit), str(limit), MUTED, upright=True) for limit in limits]
    plot = Plot("length in tokens; dashed: the buckets' limits", "texts", across(x), upright(y), (*boxes, *rules), 220)
    text = f"{found.rows} texts; {share(found.efficiency)} of the computed tokens are real, the rest is padding."
    if found.shortened:
        text += f" {found.shortened} are longer than the longest bucket."
    columns = ("bucket", "texts", "real tokens", "padding", "padding share")
    table = tuple(
        (str(one.length), str(one.rows), str(one.tokens), str(one.padding), _padded(one)) for one in found.buckets
    )
    legend = ((SERIES[0], "real tokens"), ("pad", "padding"))
    return Figure("lengths", title, text, "", (plot, _padding(found)), legend=legend, columns=columns, table=table)


def _bins(found: Lengths, x: Scale) -> list[tuple[int, int, int]]:
    """(more than, up to, texts) of each bin that holds any."""
    width = max(1, math.ceil(x.high / _BINS))
    counts: Counter[int] = Counter()
    for length, rows in found.histogram.items():
        counts[max(length - 1, 0) // width] += rows
    return [(place * width, (place + 1) * width, rows) for place, rows in sorted(counts.items())]


def _padded(one: BucketLoad) -> str:
    return share(one.padding / max(one.tokens + one.padding, 1))


def _padding(found: Lengths) -> Bars:
    scale = linear([1.0 * (one.tokens + one.padding) for one in found.buckets])
    rows = []
    for one in found.buckets:
        real, whole = scale.at(one.tokens), scale.at(one.tokens + one.padding)
        rows.append(
            Row(
                f"bucket {one.length}: {one.rows} texts",
                f"{_padded(one)} padding",
                (
                    Box(0, 0, real, 100, SERIES[0], f"{one.tokens} real tokens"),
                    Box(real, 0, whole - real, 100, "pad", f"{one.padding} tokens of padding"),
                ),
            )
        )
    return Bars(
        tuple(rows), across(scale), f"tokens computed, of {number(sum(o.tokens + o.padding for o in found.buckets))}"
    )
