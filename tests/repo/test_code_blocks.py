"""Every Python block of the README, the docs and the docstrings runs."""

import ast
import re
from pathlib import Path

import pytest

from QEfficient.cli import cache
from tests.repo import backend_guide
from tests.repo.conftest import WRITERS, Child, RunBlocks
from tests.repo.run_blocks import blocks
from tests.repo.source import ROOT, library_files
from tests.sdk import make_sdk

PROSE = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
DOCUMENTS = [path for path in PROSE if blocks(path.read_text())]
CARD = ROOT / "docs" / "how-to" / "compile_for_a_card.md"
OF_THEIR_OWN = (CARD, backend_guide.PAGE)  # pages with a test of their own
MODULES = [path for path in library_files() if ">>> " in path.read_text()]
WRITING = [
    path for path in DOCUMENTS if any(writer.REPO in code for _, code in blocks(path.read_text()) for writer in WRITERS)
]  # in tests/repo/test_writing_examples.py
OTHERS = [path for path in [*DOCUMENTS, *MODULES] if path not in (*OF_THEIR_OWN, *WRITING)]


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.fixture(scope="module")
def results(run_blocks: RunBlocks, offline: dict[str, str]) -> dict[str, str]:
    """One child runs them all, since importing torch takes longer than most blocks."""
    return run_blocks(OTHERS, offline)


@pytest.mark.parametrize("path", OTHERS, ids=name)
def test_blocks_run(path: Path, results: dict[str, str]) -> None:
    assert results[str(path)] == ""


def test_blocks_of_the_card_run_on_the_fake_sdk(run_blocks: RunBlocks, offline: dict[str, str], tmp_path: Path) -> None:
    sdk = make_sdk(tmp_path / "qti-aic", devices=2, nsp=14)
    assert run_blocks([CARD], offline | {"QEFF_QAIC_SDK": str(sdk.root)}) == {str(CARD): ""}


def test_the_guide_s_backend_compiles_encodes_and_generates(child: Child, offline: dict[str, str]) -> None:
    child(["-m", "tests.repo.backend_guide"], offline)


def test_the_readme_and_the_quick_start_have_blocks() -> None:
    assert {ROOT / "README.md", ROOT / "docs" / "source" / "quick_start.md"} <= set(DOCUMENTS)


def test_a_failing_block_is_reported(run_blocks: RunBlocks, tmp_path: Path) -> None:
    document = tmp_path / "page.md"
    document.write_text("# Page\n\n```python\nx = 1\n```\n\ntext\n\n```python\nassert x == 2\n```\n")
    assert f'{document}", line 10' in run_blocks([document])[str(document)]


@pytest.mark.parametrize("path", PROSE, ids=name)
def test_blocks_name_their_language(path: Path) -> None:
    """A fence without a language, or with `py`, would escape the runner."""
    opening = re.findall(r"^(?:```|~~~)(.*)$", path.read_text(), re.MULTILINE)[::2]
    assert set(opening) <= {"python", "console", "text", "json", "{note}", "{eval-rst}", "onnx"}


@pytest.mark.parametrize("path", library_files(), ids=name)
def test_docstrings_show_code_as_doctests(path: Path) -> None:
    """Code in a docstring is a doctest, which the child runs: no other form of it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            text = ast.get_docstring(node) or ""
            assert "```" not in text
            assert not re.search(r"code-block:: python|\bExamples?::", text)


@pytest.mark.parametrize("path", PROSE, ids=name)
def test_make_targets_and_commands_exist(path: Path) -> None:
    text = path.read_text()
    commands = {one.name or one.callback.__name__ for one in cache.app.registered_commands if one.callback}
    assert set(re.findall(r"qefficient cache (\w+)", text)) <= commands
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z]+)\b(?=[`\s]*(?:$|`|[A-Z]+=))", text, re.MULTILINE)) <= targets
