"""The pages of an evaluation and of a comparison: what is drawn is what was measured, and a browser draws it."""

import dataclasses
import math
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from QEfficient.evaluate.drawn import figures, words
from QEfficient.evaluate.drawn.printed import WIDTH
from QEfficient.report import write_report
from QEfficient.report.drawing import Bars, Box, Dot, Note, Plot, Whisker
from QEfficient.report.html import render
from QEfficient.report.scale import around
from tests.analysis.browser import look
from tests.evaluate.made_up import EVIL, comparison, evaluation, outcome

FIGURES = ["metrics", "pareto", "confusion-1", "confusion-2", "confusion-3", "confusion-4"]


@pytest.fixture(scope="module")
def page() -> str:
    return render(comparison().page())


# ------------------------------------------------------------------------------------------------- drawings


def test_dots_and_whiskers_stand_where_the_numbers_are() -> None:
    found = comparison()
    for metric, drawn in enumerate(figures.metrics(found).drawings):
        assert isinstance(drawn, Bars)
        ends = [one.metrics[metric] for one in found.models]
        scale = around(end for one in ends for end in (one.value, one.low, one.high))
        for row, one in zip(drawn.rows, ends, strict=True):
            whisker, dot = row.marks
            assert isinstance(whisker, Whisker) and isinstance(dot, Dot)
            assert (whisker.low, whisker.high) == pytest.approx((scale.at(one.low), scale.at(one.high)))
            assert dot.x == pytest.approx(scale.at(one.value))
            assert row.value == f"{one.value:.4f} [{one.low:.3f}, {one.high:.3f}]"


def test_better_and_faster_lie_up_and_to_the_right() -> None:
    found = comparison()
    plot = figures.quality_and_speed(found).drawings[0]
    assert isinstance(plot, Plot)
    dots = [one for one in plot.marks if isinstance(one, Dot)]
    assert [one.hollow for one in dots] == [not model.front for model in found.models]
    rates = [model.measured.speed.rate for model in found.models if model.measured.speed]
    values = [model.metrics[0].value for model in found.models]
    assert np.argsort([one.x for one in dots]).tolist() == np.argsort(rates).tolist()
    assert np.argsort([-one.y for one in dots]).tolist() == np.argsort(values).tolist()


def test_the_matrix_has_every_count() -> None:
    found = comparison(1)
    counts = found.models[0].confusion
    assert counts is not None
    plot = figures.confusion("confusion", "tiny", counts, found.labels).drawings[0]
    assert isinstance(plot, Plot)
    assert [int(one.text) for one in plot.marks if isinstance(one, Note)] == counts.ravel().tolist()
    shades = [one.shade for one in plot.marks if isinstance(one, Box)]
    shares = (counts / counts.sum(axis=1, keepdims=True))[counts > 0]
    assert np.argsort(shades, kind="stable").tolist() == np.argsort(shares, kind="stable").tolist()


def test_many_labels_are_numbered() -> None:
    few = figures.confusion("c", "m", np.eye(6, dtype=np.int64), [f"a rather long label {place}" for place in range(6)])
    plot = few.drawings[0]
    assert isinstance(plot, Plot)
    assert [tick.label for tick in plot.x_ticks] == ["1", "2", "3", "4", "5", "6"]
    assert plot.y_ticks[0].label == "a rather long lab… 1"


def test_of_many_labels_those_with_most_errors_are_drawn() -> None:
    counts = 50 * np.eye(40, dtype=np.int64)
    for place in range(20, 40):  # each of the last 20 taken for the next, the first 20 once for the label 0
        counts[place, 20 + (place - 19) % 20] += place
    counts[5, 0] += 1
    found = figures.confusion("c", "m", counts, ())
    plot = found.drawings[0]
    assert isinstance(plot, Plot)
    assert [tick.label.split()[0] for tick in plot.y_ticks] == [str(place) for place in range(20, 40)]
    assert [int(one.text) for one in plot.marks if isinstance(one, Note)] == counts[20:, 20:].ravel().tolist()
    assert "20 of 40 labels" in found.text and "1 of 591 errors" in found.text
    counts[21, 0] = 50  # of the rows of label 21 about half are answered so, which the shades tell
    shades = [
        one.shade
        for one in figures.confusion("c", "m", counts, ()).drawings[0].marks  # type: ignore[union-attr]
        if isinstance(one, Box) and "21 answered as 21" in one.tip
    ]
    assert shades == [pytest.approx(0.1 + 0.5 * (50 / 121) ** 0.5)]


@pytest.mark.parametrize(
    "values", [[0.855, 0.857], [0.5], [0.0], [-3.0, -2.9], [1e6, 1e6 + 1], [math.nan, 0.3, 0.4], [], [1e-9, 2e-9]]
)
def test_an_axis_around_values_holds_them(values: list[float]) -> None:
    scale = around(values)
    known = [value for value in values if math.isfinite(value)]
    assert scale.low < scale.high and len(scale.ticks) >= 2
    assert all(scale.low <= value <= scale.high for value in known)
    if len(known) > 1:  # the values fill their axis
        assert (max(known) - min(known)) / (scale.high - scale.low) > 0.4


# ---------------------------------------------------------------------------------------------------- pages


def test_the_page_has_the_tables_numbers(page: str) -> None:
    found = comparison()
    text = page.replace("\u00a0", " ").replace("\u2060", "")
    for model in found.models:
        for one in model.metrics:
            assert words.with_interval(one) in text
        assert words.bytes_of(model.measured.disk) in text and words.latency(model) in text
    assert all(one.text in page for one in found.disagreements)


def test_texts_and_names_are_escaped() -> None:
    labels = (EVIL, "<b>other</b>", "third")
    one, two = (evaluation(seed, wrong, name=EVIL, ran=EVIL, labels=labels) for seed, wrong in ((1, 0.2), (2, 0.5)))
    from QEfficient.evaluate.comparison.compared import compare_evaluations
    from tests.evaluate.made_up import examples

    for written in (render(compare_evaluations([one, two], (), examples(text=EVIL)).page()), render(one.page())):
        assert EVIL not in written and "<script" not in written and "<b>other" not in written
        assert "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;" in written


def test_nothing_of_the_page_lies_outside_of_it(page: str) -> None:
    assert not re.search(r"url\(|@import|https?://|<script|<link|<img|src=|href=", page)


@pytest.mark.parametrize("width", [1200, 412], ids=["desk", "phone"])
@pytest.mark.parametrize(
    ("made", "names"),
    [(comparison, FIGURES), (evaluation, ["metrics", "confusion"])],
    ids=["comparison", "evaluation"],
)
def test_a_browser_draws_every_figure(made: Callable[[], object], names: list[str], width: int, tmp_path: Path) -> None:
    written = write_report(made(), tmp_path / "report.html").read_text()  # type: ignore[arg-type]
    seen = look(written, tmp_path, width)
    assert sorted(one.name for one in seen.figures) == sorted(names)
    assert [fault for one in seen.figures for fault in one.faults] == []
    assert not [one.name for one in seen.figures if one.missing]
    assert seen.requests == () and seen.faults == ()
    assert seen.width <= width


def test_without_speeds_the_page_says_so() -> None:
    found = {one.name: one for one in comparison(measured=False).page().figures}
    assert "Speed was not measured" in found["pareto"].missing
    assert found["metrics"].drawings


def test_what_is_not_defined_is_drawn_nowhere(tmp_path: Path) -> None:
    whole = evaluation()
    broken = dataclasses.replace(
        whole, metrics=tuple(dataclasses.replace(one, value=math.nan, low=math.nan) for one in whole.metrics)
    )
    drawn = broken.page().figures[0].drawings[0]
    assert isinstance(drawn, Bars)
    assert [row.marks for row in drawn.rows] == [(), ()]
    assert "NaN" in str(broken)
    assert "NaN" in render(broken.page())


def test_an_evaluation_prints_a_line_a_metric() -> None:
    found = evaluation(name="[bold]tiny[/bold]")
    lines = str(found).splitlines()
    assert max(map(len, lines)) <= WIDTH
    for one in found.metrics:
        [line] = [line for line in lines if one.name in line]
        assert f"{one.value:.4f}" in line and f"[{one.low:.3f}, {one.high:.3f}]" in line
    assert lines[0] == "[bold]tiny[/bold] (torch fp32)"
    assert "200 rows" in str(found) and found.digest[:16] in str(found)
    assert "accuracy" in repr(found) and len(repr(found)) < 300


def test_metrics_of_other_sizes_have_axes_of_their_own() -> None:
    whole = evaluation()
    large = dataclasses.replace(
        whole.metrics[0], name="mae", value=120.0, low=100.0, high=140.0, higher_is_better=False
    )
    drawings = figures.own_metrics((whole.metrics[0], large), 10).drawings
    assert len(drawings) == 2
    assert len(figures.own_metrics(whole.metrics, 10).drawings) == 1


def test_an_outcome_without_label_names_is_drawn_by_number() -> None:
    bare = dataclasses.replace(evaluation(), outcome=dataclasses.replace(outcome(1, 0.2), labels=()))
    plot = bare.page().figures[1].drawings[0]
    assert isinstance(plot, Plot)
    assert [tick.label for tick in plot.x_ticks] == ["0", "1", "2"]
