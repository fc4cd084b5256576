"""What a run found, as Markdown tables and bars, and the page of the documents that holds them."""

from __future__ import annotations

import statistics
from pathlib import Path

from benchmarks.side_by_side.plot import NARROW, WIDE, Layout, Panel, Row, drawing, quartiles
from benchmarks.side_by_side.report import fill, left_out, measured_on, named, table
from benchmarks.side_by_side.writing import figures
from benchmarks.side_by_side.writing.cases import CASES
from benchmarks.side_by_side.writing.figures import Found

PAGE = "generation_speed.md"
PANELS = {
    "A": ("one row", "new tokens/s"),
    "B": ("a prompt of 900", "s to the first: less is better"),
    "C": ("eight rows", "new tokens/s"),
}
PLOTS = {"generation_speed.svg": WIDE, "generation_speed_narrow.svg": NARROW}
_WHAT = {"seconds": "all", "first": "first token"}
_RIVALS = {32: "the best exact peer", 16: "the best of 16 bits", 8: "the best of 8 bits", 4: "the best of 4 bits"}


def markdown(found: Found) -> str:
    """The figures, the ratios, and where they were measured; no table has more columns than a page is wide."""
    parts = []
    for case in found["cases"]:
        parts += [f"## {case}: {CASES[case].title}", _case(found, case)]
    parts += ["## Memory, and the bound that its bandwidth sets", _bound(found), _probes(found)]
    if ratios := _ratios(found):
        parts += ["## Times as fast as the others", ratios]
    if found.get("agreement"):
        parts += ["## How often few bits write the tokens of float32", *_agreement(found)]
    parts += ["## The machine and the versions", measured_on(found), *left_out(found)]
    return "\n\n".join(parts) + "\n"


def _case(found: Found, case: str) -> str:
    rows = []
    for one in figures.ordered(found):
        first = one["first"][case]
        rows.append(
            [
                named(one),
                figures.tokens_in_words(one, case),
                f"{statistics.median(figures.rates(found, one, case)):.1f}",
                f"{statistics.median(figures.rates_after_first(found, one, case)):.1f}",
                _times(figures.beside(one, case)),
                f"{statistics.median(first):.3f}",
                _times(figures.beside(one, case, "first")),
            ]
        )
    columns = ["", "tokens", "tokens/s", "after the first", "× transformers f32", "first, s", "× first"]
    return table(columns, rows)


def _times(ratio: figures.Rounds) -> str:
    return f"{ratio.median:.2f} (≥ {ratio.least:.2f})"


def _bound(found: Found) -> str:
    rows = []
    for one in figures.ordered(found):
        row = [named(one), f"{one['peak']:.0f}", f"{one['read'] / 1e6:.0f}", f"{figures.bound(found, one):.0f}"]
        if "A" in found["cases"]:
            shares = [rate / figures.bound(found, one) for rate in figures.rates_after_first(found, one, "A")]
            row += [f"{statistics.median(shares):.0%}", f"{max(shares):.0%}"]
        rows.append(row)
    shares_of = ["of the bound in A", "best round"] if "A" in found["cases"] else []
    return table(["", "peak, MB", "read a token, MB", "bound, tokens/s", *shares_of], rows)


def _probes(found: Found) -> str:
    probes = figures.bandwidth(found)
    threads = list(next(iter(probes.values())))
    columns = ["memory, GB/s", *(f"{number} thread{'s' if number != '1' else ''}" for number in threads)]
    return table(columns, [[probe, *(f"{rate[n] / 1e9:.1f}" for n in threads)] for probe, rate in probes.items()])


def _ratios(found: Found) -> str:
    rows = []
    for wanted in figures.COMPARISONS:
        if not (pair := figures.compared(found, wanted)):
            continue
        ours, peer, ratio = pair
        rival = peer["name"] if wanted.peer else f"{_RIVALS[wanted.bits]}: {peer['name']}"
        rows.append([named(ours), f"{wanted.case}, {_WHAT[wanted.what]}", rival, _times(ratio)])
    return table(["", "case", "beside", "times as fast"], rows) if rows else ""


def _agreement(found: Found) -> list[str]:
    one = found["agreement"]
    rows = [
        [
            f"**{name}**" if name.startswith("QEfficient") else name,
            str(got["bits"]),
            f"{got['equal']:.1%}",
            f"{got['prefix']:.1%}",
            "" if got["first"] is None else f"{got['first']:.1f}",
        ]
        for name, got in sorted(one["contenders"].items(), key=lambda item: (-item[1]["bits"], -item[1]["prefix"]))
    ]
    columns = ["", "bits", "answers equal", "tokens before the first other one", "first other token, mean place"]
    words = f"{one['prompts']} prompts, at most {one['new']} new tokens each, greedy; {one['date']}."
    return [words, table(columns, rows)]


def plot(found: Found, layout: Layout) -> str:
    """All contenders on all cases; the thin line spans the middle half of the rounds."""
    contenders = figures.ordered(found)
    panels = []
    for case in found["cases"]:
        if case == "B":
            spans = [quartiles(one["first"][case]) for one in contenders]
        else:
            spans = [quartiles(figures.rates(found, one, case)) for one in contenders]
        panels.append(Panel(*PANELS[case], spans, 2 if case == "B" else 1))
    words = (
        "From top to bottom: float32 with transformers' tokens; float32 with others, 16, 8 and 4 bits. "
        f"{found['machine']['cpu']}, {found['machine']['threads']} CPUs, {found['date'][:10]}."
    )
    rows = [Row(one["name"], one["ours"], figures.kind(one)) for one in contenders]
    return drawing(rows, panels, layout, words)


def write_docs(found: Found, folder: Path) -> None:
    """Puts the tables between the marks of the page, and the plots beside it."""
    fill(folder / PAGE, markdown(found))
    for name, layout in PLOTS.items():
        (folder / name).write_text(plot(found, layout), encoding="utf-8")
