"""The documentation builds without a warning, and its first pages are laid out for a desk and for a phone."""

import re
from pathlib import Path
from pkgutil import resolve_name

import pytest

from benchmarks.side_by_side.report import PLOTS
from tests.repo.conftest import Child
from tests.repo.screens import DESK, PHONE, look
from tests.repo.source import ROOT

SPEED = ROOT / "docs" / "explanation" / "speed.md"
Table = dict[str, dict[str, str]]  # row → column → cell


@pytest.fixture(scope="module")
def built(child: Child, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pages; a page that no table of contents lists is a warning, and so an error."""
    folder = tmp_path_factory.mktemp("docs")
    options = ["-W", "-n", "--keep-going", "-q", "-b", "html", "-d", str(folder / "doctrees")]
    child(["-m", "sphinx", *options, "docs", str(folder / "html")])
    return folder / "html"


def tables(page: Path) -> list[Table]:
    """The tables of a Markdown page whose rows begin with a name."""
    found = []
    for block in re.findall(r"(?:^\|.*\|\n)+", page.read_text(), re.MULTILINE):
        columns, _, *rows = ([cell.strip(" *") for cell in line.split("|")[1:-1]] for line in block.splitlines())
        found.append({row[0]: dict(zip(columns[1:], row[1:], strict=True)) for row in rows})
    return found


def test_docs_build_without_warnings(built: Path) -> None:
    assert (built / "source" / "quick_start.html").is_file()


def test_the_first_page_is_one_screen_with_the_example_a_plot_and_the_doors(built: Path, tmp_path: Path) -> None:
    [screen] = look([built / "index.html"], DESK, tmp_path)
    assert screen.width <= DESK[0] and screen.content <= DESK[1]
    assert [one.name for one in screen.drawings] == ["speed_first_page.svg"]
    assert 6 <= screen.links <= 12
    words = re.sub(r"<[^>]+>", "", (built / "index.html").read_text().partition("<article")[2])
    assert (ROOT / "examples" / "quick_start.py").read_text().splitlines()[0] in words


def test_the_page_on_speed_begins_with_its_plot_and_its_tables_fit(built: Path, tmp_path: Path) -> None:
    [screen] = look([built / "explanation" / "speed.html"], DESK, tmp_path)
    [drawing] = screen.drawings
    assert drawing.name == "speed.svg" and drawing.scale == 1
    assert drawing.top < min(top for top, _ in screen.tables)
    assert len(screen.tables) >= 3 and not [top for top, hidden in screen.tables if hidden > 0]


def test_on_a_phone_no_page_is_wider_than_the_screen(built: Path, tmp_path: Path) -> None:
    pages = [page for page in sorted(built.rglob("*.html")) if "_static" not in page.parts]
    screens = dict(zip(pages, look(pages, PHONE, tmp_path), strict=True))
    assert not [page.name for page, screen in screens.items() if screen.width > PHONE[0]]
    [drawing] = screens[built / "explanation" / "speed.html"].drawings
    assert drawing.name == "speed_narrow.svg" and drawing.right <= PHONE[0] and drawing.scale > 0.9  # can be read


def test_the_plots_show_the_figures_of_the_tables() -> None:
    speeds = {name: row["short, texts/s"] for name, row in tables(SPEED)[0].items()}
    assert len(speeds) > 10
    for name in PLOTS:
        drawing = (SPEED.parent / name).read_text()
        drawn = list(dict.fromkeys(re.findall(r'text-anchor="end"[^>]*>([^<]+)<', drawing)))
        bars = re.findall(r'fill="#333">([^<]+)<', drawing)[: len(drawn)]  # the first panel's
        assert len(drawn) >= 10 and dict(zip(drawn, bars, strict=True)) == {one: speeds[one] for one in drawn}, name


def test_the_figures_of_the_readme_are_those_of_the_page_on_speed() -> None:
    claimed = re.findall(
        r"(\d\.\d\d) × ([\w-]+(?: f32)?)", (ROOT / "README.md").read_text().split("## Text in, text out")[0]
    )
    ratios = tables(SPEED)[2]  # of the host's default, onnxruntime, in float32
    assert len(claimed) >= 2
    assert {name: ratios[name]["short"].split()[0] for _, name in claimed} == {name: value for value, name in claimed}


def test_every_name_of_the_glossary_exists() -> None:
    rows = re.findall(
        r"^\| ([^|]+) \| [^|]+ \| ([^|]+) \|$", (ROOT / "docs/explanation/glossary.md").read_text(), re.MULTILINE
    )
    words = {word: re.findall(r"`(QEfficient[.\w]+)`", names) for word, names in rows if names != "in the code"}
    assert len(words) > 40 and all(words.values())
    for name in {name for names in words.values() for name in names}:
        resolve_name(name)
