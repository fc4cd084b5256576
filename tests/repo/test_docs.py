"""The documentation builds without a warning."""

import re
from pathlib import Path
from pkgutil import resolve_name

from tests.repo.conftest import Child
from tests.repo.source import ROOT


def test_docs_build_without_warnings(child: Child, tmp_path: Path) -> None:
    options = ["-W", "-n", "--keep-going", "-q", "-b", "html", "-d", str(tmp_path / "doctrees")]
    child(["-m", "sphinx", *options, "docs", str(tmp_path / "html")])
    assert (tmp_path / "html" / "source" / "quick_start.html").is_file()


def test_every_page_is_in_the_index() -> None:
    pages = {path.relative_to(ROOT / "docs").with_suffix("").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    index = (ROOT / "docs" / "index.rst").read_text().split()
    assert pages - set(index) == set()


def test_every_name_of_the_glossary_exists() -> None:
    rows = re.findall(
        r"^\| ([^|]+) \| [^|]+ \| ([^|]+) \|$", (ROOT / "docs/explanation/glossary.md").read_text(), re.MULTILINE
    )
    words = {word: re.findall(r"`(QEfficient[.\w]+)`", names) for word, names in rows if names != "in the code"}
    assert len(words) > 40 and all(words.values())
    for name in {name for names in words.values() for name in names}:
        resolve_name(name)
