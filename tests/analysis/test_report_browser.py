"""The report in a real browser: every figure is drawn, nothing is asked of a network, no script fails."""

import re
from pathlib import Path

import pytest

from QEfficient import QEFFAutoModel
from QEfficient.report import write_report
from tests.analysis.browser import Page, look
from tests.analysis.made_up import EVIL, full, small
from tests.tiny_repo import tiny_repo

FIGURES = ["roofline", "speed", "modules", "verification", "ranges", "lengths", "operators", "weights"]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_report(full(EVIL), tmp_path_factory.mktemp("report") / "report.html").read_text()


def faults(page: Page) -> list[str]:
    names = [one.name for one in page.figures]
    missing = [f"{name}: not in the page" for name in FIGURES if name not in names]
    return missing + [fault for one in page.figures for fault in one.faults]


@pytest.mark.parametrize("width", [1200, 412], ids=["desk", "phone"])
def test_every_figure_is_drawn(page: str, tmp_path: Path, width: int) -> None:
    seen = look(page, tmp_path, width)
    assert faults(seen) == []
    assert not [one.name for one in seen.figures if one.missing]
    assert seen.faults == ()
    assert seen.requests == ()
    assert seen.width <= width  # nothing sticks out at the side


def test_figures_without_data_say_so_in_words(tmp_path: Path) -> None:
    page = write_report(small(), tmp_path / "report.html").read_text()
    seen = look(page, tmp_path)
    assert faults(seen) == []
    assert {one.name for one in seen.figures if one.missing} == {*FIGURES} - {"modules", "operators", "weights"}


def test_what_is_broken_is_found(page: str, tmp_path: Path) -> None:
    """One page with a fault of each kind: the checks above are no empty ones."""
    broken = re.sub(r'<figure[^>]*id="ranges".*?</figure>', "", page, flags=re.DOTALL)
    broken = without(broken, "roofline", r"<svg.*</svg>")
    broken = without(broken, "modules", r'<rect class="mark.*?</rect>')
    broken = broken.replace("</head>", "<style>#weights svg { height: 0 } #speed .mark { opacity: 0 }</style></head>")
    broken = broken.replace("</main>", '</main><img src="http://127.0.0.1:9/a.png"><script>nobody.knows()</script>')
    broken = broken.replace(
        "</head>",
        "<style>@font-face { font-family: x; src: url(http://127.0.0.1:9/f) } h1 { font-family: x }</style></head>",
    )
    seen = look(broken, tmp_path)
    found = faults(seen)
    assert {one.partition(":")[0] for one in found} == {"ranges", "roofline", "modules", "weights", "speed"}, found
    assert {"http://127.0.0.1:9/a.png", "http://127.0.0.1:9/f"} <= set(seen.requests)
    assert any("nobody is not defined" in fault for fault in seen.faults)


@pytest.mark.slow
def test_the_report_of_a_real_analysis_is_drawn(tmp_path: Path) -> None:
    model = QEFFAutoModel.from_pretrained(tiny_repo(tmp_path / "repo"), pooling="auto")
    texts = ["A text.", "A text of some more words than the first one has.", "word " * 60] * 5
    model.analyze(texts=texts, report=tmp_path / "report.html")
    seen = look((tmp_path / "report.html").read_text(), tmp_path)
    assert faults(seen) == []
    assert seen.faults == () and seen.requests == ()
    assert [one.name for one in seen.figures if one.missing] == []


def without(page: str, figure: str, pattern: str) -> str:
    """The page with something cut out of one figure."""
    whole = re.search(rf'<figure[^>]*id="{figure}".*?</figure>', page, re.DOTALL)
    assert whole
    cut, times = re.subn(pattern, "", whole.group(), flags=re.DOTALL)
    assert times
    return page.replace(whole.group(), cut)
