"""What a run found, as Markdown tables, and the page of the documents that holds them."""

from __future__ import annotations

import re
import statistics
from collections.abc import Sequence
from pathlib import Path

from benchmarks.side_by_side import plot
from benchmarks.side_by_side.figures import (
    ONE,
    Found,
    comparisons,
    kind,
    least_cosine,
    milliseconds,
    ordered,
    share_of_limit,
    texts_per_second,
)

PAGE = "speed.md"
PLOTS = {
    "speed.svg": lambda found: plot.plot(found, plot.WIDE),
    "speed_narrow.svg": lambda found: plot.plot(found, plot.NARROW),
    "speed_first_page.svg": plot.first_page,
}
BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"


def markdown(found: Found) -> str:
    """The figures, the ratios, and where they were measured; no table has more columns than a page is wide."""
    parts = ["## Speed", _speed(found), "## Accuracy, the limit, start and memory", _costs(found)]
    if found["rounds"] > 1 and (ratios := _ratios(found)):
        parts += ["## Times as fast as the others", *ratios]
    parts += ["## The machine and the versions", _where(found)]
    parts += left_out(found)
    return "\n\n".join(parts) + "\n"


def _where(found: Found) -> str:
    corpora = [
        f"{name}: {one['texts']} texts, {one['tokens']:,} tokens, the longest {one['longest']}"
        for name, one in found["corpora"].items()
    ]
    best = {name: f"{statistics.median(rates) / 1e9:.0f}" for name, rates in found["multiply"].items()}
    return f"{measured_on(found)} {'; '.join(corpora)}." + (
        f" GFLOP/s in float32: {', '.join(f'{name} {rate}' for name, rate in best.items())}." if best else ""
    )


def measured_on(found: Found) -> str:
    """When, on what machine, with which versions, in how many rounds."""
    machine = found["machine"]
    packages: dict[str, set[str]] = {}
    for installed in found["versions"].values():
        for name, number in installed.items():
            packages.setdefault(name, set()).add(number)
    versions = ", ".join(f"{name} {' and '.join(sorted(numbers))}" for name, numbers in packages.items())
    return (
        f"{found['date']}; {machine['cpu']}, {machine['threads']} of {machine['cpus']} CPUs "
        f"({', '.join(machine['has'])}), {machine['memory_gb']} GB; Python {machine['python']}. {versions}. "
        f"{found['rounds']} rounds."
    )


def left_out(found: Found) -> list[str]:
    """Who could not be measured, and why; nothing if all could."""
    if not found["left_out"]:
        return []
    return ["Not measured: " + "; ".join(f"{name} ({why})" for name, why in found["left_out"].items()) + "."]


def _speed(found: Found) -> str:
    columns = ["", "class"]
    for name in found["corpora"]:
        columns += ["p50, ms", "p95, ms"] if name == ONE else [f"{name}, texts/s"]
    rows = []
    for one in ordered(found):
        row = [named(one), kind(one) or "none"]
        for name in found["corpora"]:
            if name == ONE:
                row += [f"{milliseconds(one, 50):.2f}", f"{milliseconds(one, 95):.2f}"]
            else:
                row.append(f"{texts_per_second(found, one, name):.0f}")
        rows.append(row)
    return table(columns, rows)


def _costs(found: Found) -> str:
    many = [name for name in found["corpora"] if name != ONE]
    rows = []
    for one in ordered(found):
        shares = [share_of_limit(found, one, name) for name in many]
        row = [named(one), f"{least_cosine(one):.6f}", *("" if share is None else f"{share:.0%}" for share in shares)]
        rows.append([*row, f"{one['start']:.1f}", f"{one['first_peak']:.0f}", f"{one['peak']:.0f}"])
    limits = [f"{name}, of the limit" for name in many]
    return table(["", "least cosine", *limits, "start, s", "start, MB", "peak, MB"], rows)


def _ratios(found: Found) -> list[str]:
    parts = []
    for ours, peers in comparisons(found):
        rows = [
            [peer["name"], str(kind(peer)), *(f"{r.mean:.2f} (≥ {r.lower:.2f})" for r in ratios.values())]
            for peer, ratios in peers
        ]
        if rows:
            parts += [f"**{ours['name']}** ({kind(ours)}), times as fast as:"]
            parts += [table(["", "class", *found["corpora"]], rows)]
    return parts


def named(one: Found) -> str:
    """A contender's name, ours in bold."""
    return f"**{one['name']}**" if one["ours"] else str(one["name"])


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """As Markdown; the first column is one of names, the others are numbers."""
    lines = [columns, ["---", *["---:"] * (len(columns) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def write_docs(found: Found, folder: Path) -> None:
    """Puts the tables between the marks of the page, and the plots beside it."""
    fill(folder / PAGE, markdown(found))
    for name, draw in PLOTS.items():
        (folder / name).write_text(draw(found), encoding="utf-8")


def fill(page: Path, words: str) -> None:
    """Puts words between the marks of a page.

    Raises:
        SystemExit: The page has not these marks once.
    """
    text = page.read_text(encoding="utf-8")
    block = f"{BEGIN}\n\n{words}\n{END}"
    replaced, count = re.subn(f"{re.escape(BEGIN)}.*?{re.escape(END)}", lambda _: block, text, flags=re.DOTALL)
    if count != 1:
        raise SystemExit(f"{page} needs the lines {BEGIN} and {END} once")
    page.write_text(replaced, encoding="utf-8")
