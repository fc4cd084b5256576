"""What the report and the terminal's table write, and how."""

import dataclasses
import io
import re
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path

import pytest

from QEfficient.analysis.analysis import Analysis
from QEfficient.analysis.figures import costs, lengths, ranges, speed, verification
from QEfficient.errors import OptionError
from QEfficient.report import html, write_report
from QEfficient.report.drawing import Dot, Plot, ReferenceLine
from QEfficient.report.html import render
from QEfficient.report.page import Page
from QEfficient.report.scale import linear, logarithmic
from tests.analysis import made_up
from tests.analysis.made_up import EVIL, full, small


class Reader(HTMLParser):
    """Tags and attributes of a page, as a parser sees them."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> str:
    analysis = full(EVIL)
    finding = dataclasses.replace(analysis.lint[0], text=EVIL, modules=(EVIL,))
    return render(dataclasses.replace(analysis, lint=(finding,), versions={EVIL: EVIL}).page())


def test_what_comes_from_the_model_is_escaped(written: str) -> None:
    assert EVIL not in written and "<script" not in written and "<b>markup" not in written
    assert "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&amp;&#34;{{ 7*7 }}" in written
    assert written.count("&lt;script&gt;") >= 5  # title, heading, version, finding, module


def test_nothing_of_the_page_lies_outside_of_it(written: str) -> None:
    reader = Reader()
    reader.feed(written)
    assert not {tag for tag, _ in reader.tags} & {"script", "link", "img", "iframe", "object", "embed", "base", "use"}
    assert not [one for _, one in reader.tags if {"src", "href", "xlink:href", "action", "onclick"} & set(one)]
    assert not re.search(r"url\(|@import|https?://", written)


def test_the_heading_names_model_versions_and_date() -> None:
    found = render(full().page())
    heading = found[found.index("<header>") : found.index("</header>")]
    for part in ("org/tiny-encoder", "BertModel", "torch 2.13.0", "2026-11-24T12:00:00Z"):
        assert part in heading


def test_a_report_replaces_the_one_before_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "report.html"
    path.write_text("an old page")
    assert write_report(small(), str(path)) == path
    before = path.read_text()
    assert "org/tiny" in before

    def fail(page: Page) -> str:
        raise KeyError("a fault while drawing")

    monkeypatch.setattr(html, "render", fail)
    with pytest.raises(KeyError, match="a fault while drawing"):
        write_report(full(), path)
    assert path.read_text() == before
    assert [one.name for one in tmp_path.iterdir()] == ["report.html"]


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"report\.html"):
        write_report(small(), tmp_path)
    with pytest.raises(OptionError, match="make the folder"):
        write_report(small(), tmp_path / "nowhere" / "report.html")


def test_odd_names_are_written(tmp_path: Path) -> None:
    assert "模型" in write_report(small_named("模型\udc80"), tmp_path / "r.html").read_text(encoding="utf-8")


def small_named(name: str) -> Analysis:
    return dataclasses.replace(small(), name=name)


def test_the_template_is_part_of_the_package() -> None:
    folder = resources.files("QEfficient.report") / "templates"
    assert {one.name for one in folder.iterdir()} == {"report.html", "draw.svg", "style.css"}


def plot(figure: object) -> Plot:
    (found, *_) = figure.drawings  # type: ignore[attr-defined]
    assert isinstance(found, Plot)
    return found


def test_overflow_and_near_overflow_are_marked() -> None:
    marks = plot(ranges.ranges(full().risk)).marks
    dots = [one for one in marks if isinstance(one, Dot)]
    assert len(dots) == 42
    line = next(one.at for one in marks if isinstance(one, ReferenceLine) and "65504" in one.label)
    assert sorted(dot.tip.split()[0] for dot in dots if dot.kind == "bad") == ["node_3_5", "node_3_6"]
    assert [dot.tip.split()[0] for dot in dots if dot.kind == "warn"] == ["node_4_5"]
    assert all((dot.y < line) == (dot.kind == "bad") for dot in dots)  # above the line: nearer the top
    assert "channel 7" in next(dot.tip for dot in dots if dot.tip.startswith("node_3_5"))
    assert [tick.label for tick in plot(ranges.ranges(full().risk)).x_ticks] == ["layer 0", "1", "2", "3", "4", "5"]


def test_a_long_graph_keeps_every_bad_node() -> None:
    risk = made_up.risk()
    many = dataclasses.replace(risk, ranges=risk.ranges[:7] * 1000 + risk.ranges)
    dots = [one for one in plot(ranges.ranges(many)).marks if isinstance(one, Dot)]
    assert len(dots) < 1600
    assert sum(dot.kind == "bad" for dot in dots) == 2


def full_with(**changes: object) -> Analysis:
    return dataclasses.replace(full(), **changes)  # type: ignore[arg-type]


def test_points_lie_on_their_roof() -> None:
    found = plot(costs.roofline(full().roofline))
    assert len([one for one in found.marks if isinstance(one, Dot)]) == 3 * 5
    for point in made_up.points((made_up.costs(512),)):
        assert costs._peak(point) == pytest.approx(made_up.CARDS[point.card][0])


def test_a_graph_without_matrix_products_has_no_roofline() -> None:
    nothing = [dataclasses.replace(one, flops=0, intensity=0.0, attainable_tflops=0.0) for one in full().roofline]
    assert "no matrix product" in costs.roofline(nothing).missing


def test_repeated_modules_are_one_bar() -> None:
    figure = costs.modules(full().buckets[-1])
    labels = [row.label for row in figure.drawings[0].rows]  # type: ignore[union-attr]
    assert "encoder.layer.*.output.dense (6 modules)" in labels
    assert ("encoder.layer.3.output.dense", "604 M", "4.9 %", "0") in figure.table  # 2·512·384·1536


def test_extrapolated_speed_is_hollow_and_says_why() -> None:
    figure = speed.speed(full().predictions)
    dots = [one for one in plot(figure).marks if isinstance(one, Dot)]
    assert {one.tip.split(":")[0] for one in dots if one.hollow} == {
        "standard, best throughput, 256",
        "standard, best latency, 256",
    }
    assert len(dots) == 2 * 5  # the other card stands in the table
    reasons = {row[1]: row[6] for row in figure.table if row[0] == "ultra"}
    assert reasons["128"] == "no card of this kind was measured" and "length" in reasons["256"]


def test_padding_is_shown_for_each_bucket() -> None:
    figure = lengths.lengths(full().lengths)
    assert "34.2 % padding" in [row.value for row in figure.drawings[1].rows]  # type: ignore[union-attr]
    assert "3 are longer" in figure.text


@pytest.mark.parametrize(
    ("result", "words"),
    [(None, "compile the model first"), ({"verify": "off"}, "verify: off"), ({"verify": "not run"}, "verify: not run")],
)
def test_a_check_that_was_not_made_is_told(result: dict[str, str] | None, words: str) -> None:
    assert words in verification.verification(result).missing


def test_a_card_program_shows_its_graph_too() -> None:
    both = {**made_up.verification(), "graph": made_up.verification(min_cosine=0.9999999)}
    names = [row[0] for row in verification.verification(both).table]
    assert names[1] == "min cosine" and names[-1] == "graph in fp32: min cosine"


def test_a_failed_check_names_the_limit_and_the_worst_row() -> None:
    failed = full_with(verification=made_up.verification(min_cosine=0.9, histogram=[0, 3, 0, 0, 0, 0, 0, 1]))
    figure = verification.verification(failed.verification)
    assert "FAILED" in figure.text and "min cosine 0.9 < 0.995" in figure.text
    assert "FAILED" in render(failed.page()) and "text 7: a row about &lt;b&gt;" in render(failed.page())


def test_the_terminal_shows_every_part() -> None:
    found = str(full())
    for part in ("22.7 M", "data-dependent-shape", "overflows in fp16", "≥ 0.995", "34.2 %", "23.9 k to 33.8 k"):
        assert part in found
    assert max(map(len, found.splitlines())) <= 110
    assert "\x1b" not in found
    assert repr(full()).count("\n") == 0 and "22,713,216 parameters" in repr(full())


def test_markup_of_a_name_is_no_markup() -> None:
    assert "[red]org/x[/red]" in str(small_named("[red]org/x[/red]"))


def test_a_terminal_without_unicode_gets_the_table_too(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(raw, encoding="ascii", write_through=True))
    monkeypatch.setenv("TERM", "dumb")
    full().show()
    assert b"min cosine" in raw.getvalue() and b"? 0.995" in raw.getvalue()


@pytest.mark.parametrize(
    ("values", "ticks"),
    [([3, 97], [0, 20, 40, 60, 80, 100]), ([], [0, 0.2, 0.4, 0.6, 0.8, 1.0]), ([0, 0], [0, 0.2, 0.4, 0.6, 0.8, 1.0])],
)
def test_linear_axes_have_round_ends(values: list[float], ticks: list[float]) -> None:
    assert list(linear(values).ticks) == pytest.approx(ticks)


@pytest.mark.parametrize(
    ("values", "ends", "ticks"),
    [
        ([3, 4000], (2, 5000), [10, 100, 1000]),
        ([1, 100], (1, 100), [1, 10, 100]),
        ([30, 60], (20, 100), [20, 50, 100]),
        ([7], (5, 10), [5, 10]),
        ([], (1, 10), [1, 2, 5, 10]),
        ([0, float("inf"), float("nan"), 10], (10, 20), [10, 20]),
    ],
)
def test_logarithmic_axes(values: list[float], ends: tuple[float, float], ticks: list[float]) -> None:
    scale = logarithmic(values)
    assert (scale.low, scale.high) == pytest.approx(ends)
    assert list(scale.ticks) == pytest.approx(ticks)
    assert [scale.at(end) for end in (*ends, float("inf"), float("nan"), 0.0)] == [0, 100, 100, 100, 0]
