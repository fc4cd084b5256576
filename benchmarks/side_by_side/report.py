"""What a run found, as Markdown tables and as a plot. Everything here is a function of the run's JSON."""

from __future__ import annotations

import re
import statistics
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.side_by_side.ratios import CLASSES, Ratio, class_of, paired
from QEfficient.report.scale import linear

ONE = "one"
PAGE, PLOT = "speed.md", "speed.svg"
BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"
TITLES = {
    "short": "short snippets, texts/s",
    "long": "editorials, texts/s",
    ONE: "one text, p50 in ms (less is better)",
}
COLOURS = {True: "#0b6e99", False: "#a9b4bb"}  # ours, theirs

Found = Mapping[str, Any]


def least_cosine(one: Found) -> float:
    """Over all corpora."""
    return min(float(value) for value in one["cosine"].values())


def kind(one: Found) -> str | None:
    """The class of a contender, by its vectors."""
    return class_of(least_cosine(one))


def rounds(one: Found, corpus: str) -> list[float]:
    """Seconds of each round; for texts one at a time each round's median."""
    return [statistics.median(taken) if corpus == ONE else taken for taken in one["seconds"][corpus]]


def milliseconds(one: Found, share: int) -> float:
    """A percentile over every single text of every round."""
    return float(np.percentile(np.concatenate(one["seconds"][ONE]), share)) * 1e3


def texts_per_second(found: Found, one: Found, corpus: str) -> float:
    """By the median round."""
    return float(found["corpora"][corpus]["texts"] / statistics.median(rounds(one, corpus)))


def share_of_limit(found: Found, one: Found, corpus: str) -> float | None:
    """Of the best matrix-multiply rate in float32 of the same round, in the median; only for who computes so."""
    if not found["multiply"] or kind(one) != "exact":
        return None
    best = [max(rates) for rates in zip(*found["multiply"].values(), strict=True)]
    flops = found["corpora"][corpus]["flops"]
    return statistics.median(flops / rate / seconds for rate, seconds in zip(best, rounds(one, corpus), strict=True))


def comparisons(found: Found) -> list[tuple[Found, list[tuple[Found, dict[str, Ratio]]]]]:
    """Each of ours, with the peers of its class or a more exact one, and the paired ratio on each corpus."""
    order = [name for name, _ in CLASSES]
    sides = []
    for ours in found["contenders"]:
        own = kind(ours)
        if not ours["ours"] or own is None:
            continue
        peers = [
            (peer, {name: paired(rounds(ours, name), rounds(peer, name)) for name in found["corpora"]})
            for peer in found["contenders"]
            if not peer["ours"] and (other := kind(peer)) and order.index(other) <= order.index(own)
        ]
        sides.append((ours, peers))
    return sides


# --------------------------------------------------------------------------------------------------------- tables


def markdown(found: Found) -> str:
    """The machine, the figures, and the ratios."""
    parts = [_where(found), _figures(found)]
    if found["rounds"] > 1:
        for ours, peers in comparisons(found):
            rows = [
                [peer["name"], str(kind(peer)), *(f"{r.mean:.2f} (≥ {r.lower:.2f})" for r in ratios.values())]
                for peer, ratios in peers
            ]
            if rows:
                parts += [f"**{ours['name']}** ({kind(ours)}), times as fast as:"]
                parts += [_table(["", "class", *found["corpora"]], rows)]
    if found["left_out"]:
        parts += ["Not measured: " + "; ".join(f"{name} ({why})" for name, why in found["left_out"].items()) + "."]
    return "\n\n".join(parts) + "\n"


def _where(found: Found) -> str:
    machine = found["machine"]
    corpora = [
        f"{name}: {one['texts']} texts, {one['tokens']:,} tokens, the longest {one['longest']}"
        for name, one in found["corpora"].items()
    ]
    packages: dict[str, set[str]] = {}
    for installed in found["versions"].values():
        for name, number in installed.items():
            packages.setdefault(name, set()).add(number)
    versions = ", ".join(f"{name} {' and '.join(sorted(numbers))}" for name, numbers in packages.items())
    best = {name: f"{statistics.median(rates) / 1e9:.0f}" for name, rates in found["multiply"].items()}
    return (
        f"{found['date']}; {machine['cpu']}, {machine['threads']} of {machine['cpus']} CPUs "
        f"({', '.join(machine['has'])}), {machine['memory_gb']} GB; Python {machine['python']}. {versions}. "
        f"{found['rounds']} rounds. {'; '.join(corpora)}."
        + (f" GFLOP/s in float32: {', '.join(f'{name} {rate}' for name, rate in best.items())}." if best else "")
    )


def _figures(found: Found) -> str:
    corpora = list(found["corpora"])
    columns = ["", "class", "least cosine"]
    for name in corpora:
        columns += ["p50, ms", "p95, ms"] if name == ONE else [f"{name}, texts/s", "of the limit"]
    rows = []
    for one in ordered(found):
        row = [f"**{one['name']}**" if one["ours"] else one["name"], kind(one) or "none", f"{least_cosine(one):.6f}"]
        for name in corpora:
            if name == ONE:
                row += [f"{milliseconds(one, 50):.2f}", f"{milliseconds(one, 95):.2f}"]
            else:
                share = share_of_limit(found, one, name)
                row += [f"{texts_per_second(found, one, name):.0f}", "" if share is None else f"{share:.0%}"]
        rows.append([*row, f"{one['start']:.1f}", f"{one['first_peak']:.0f}", f"{one['peak']:.0f}"])
    return _table([*columns, "start, s", "start, MB", "peak, MB"], rows)


def ordered(found: Found) -> list[Found]:
    """By class, the most exact first, then by speed on the first corpus."""
    names = [name for name, _ in CLASSES]
    first = next(iter(found["corpora"]))

    def place(one: Found) -> tuple[int, float]:
        own = kind(one)
        return names.index(own) if own else len(names), statistics.median(rounds(one, first))

    return sorted(found["contenders"], key=place)


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---", *["---:"] * (len(columns) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


# ----------------------------------------------------------------------------------------------------------- plot

_LEFT, _WIDTH, _GAP, _STEP, _TOP = 250, 210, 60, 22, 56


def svg(found: Found) -> str:
    """A bar for each contender on each corpus; the thin line spans the middle half of the rounds."""
    contenders, corpora = ordered(found), list(found["corpora"])
    height = _TOP + _STEP * len(contenders) + 46
    width = _LEFT + len(corpora) * (_WIDTH + _GAP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
        'font-size="12">',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
    ]
    before: str | None = ""
    for place, one in enumerate(contenders):
        y = _TOP + _STEP * place
        if kind(one) != before and place:
            parts.append(f'<path d="M8 {y - 2}H{width - 8}" stroke="#ddd"/>')
        before = kind(one)
        weight = ' font-weight="bold"' if one["ours"] else ""
        parts.append(f'<text x="{_LEFT - 10}" y="{y + 14}" text-anchor="end"{weight}>{escape(one["name"])}</text>')
    for place, corpus in enumerate(corpora):
        parts += _panel(_LEFT + place * (_WIDTH + _GAP), corpus, contenders, found)
    parts.append(f'<text x="8" y="{height - 10}" fill="#555">{escape(_legend(found))}</text></svg>')
    return "\n".join(parts) + "\n"


def _panel(left: int, corpus: str, contenders: Sequence[Found], found: Found) -> list[str]:
    values = [_quartiles(found, one, corpus) for one in contenders]
    scale = linear(high for _, _, high in values)
    bottom = _TOP + _STEP * len(contenders)
    parts = [f'<text x="{left + _WIDTH / 2}" y="24" text-anchor="middle" font-size="13">{TITLES[corpus]}</text>']
    for tick in scale.ticks:
        x = left + _WIDTH * scale.at(tick) / 100
        parts.append(f'<path d="M{x:.1f} {_TOP - 6}V{bottom}" stroke="#e6e6e6"/>')
        parts.append(f'<text x="{x:.1f}" y="{_TOP - 12}" text-anchor="middle" fill="#555">{tick:g}</text>')
    for place, (one, (low, middle, high)) in enumerate(zip(contenders, values, strict=True)):
        y = _TOP + _STEP * place
        start, end, far = (left + _WIDTH * scale.at(value) / 100 for value in (low, middle, high))
        colour = COLOURS[bool(one["ours"])]
        parts.append(f'<rect x="{left}" y="{y + 3}" width="{end - left:.1f}" height="14" fill="{colour}"/>')
        parts.append(f'<path d="M{start:.1f} {y + 10}H{far:.1f}" stroke="#222"/>')
        digits = 1 if corpus == ONE else 0
        parts.append(f'<text x="{far + 5:.1f}" y="{y + 14}" fill="#333">{middle:.{digits}f}</text>')
    return parts


def _quartiles(found: Found, one: Found, corpus: str) -> tuple[float, float, float]:
    taken = rounds(one, corpus)
    values = [1e3 * t for t in taken] if corpus == ONE else [found["corpora"][corpus]["texts"] / t for t in taken]
    low, middle, high = np.percentile(values, (25, 50, 75))
    return float(low), float(middle), float(high)


def _legend(found: Found) -> str:
    classes = "; ".join(f"{name}: cosine ≥ {least}" for name, least in CLASSES)
    return f"From top to bottom by class ({classes}). {found['machine']['cpu']}, {found['date'][:10]}."


# ----------------------------------------------------------------------------------------------------------- docs


def write_docs(found: Found, folder: Path) -> None:
    """Puts the tables between the marks of the page, and the plot beside it."""
    page = folder / PAGE
    text = page.read_text(encoding="utf-8")
    block = f"{BEGIN}\n\n{markdown(found)}\n{END}"
    replaced, count = re.subn(f"{re.escape(BEGIN)}.*?{re.escape(END)}", lambda _: block, text, flags=re.DOTALL)
    if count != 1:
        raise SystemExit(f"{page} needs the lines {BEGIN} and {END} once")
    page.write_text(replaced, encoding="utf-8")
    (folder / PLOT).write_text(svg(found), encoding="utf-8")
