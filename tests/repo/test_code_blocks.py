"""Every Python block of the README, the docs and the docstrings runs."""

import ast
import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import pytest

from QEfficient.cli import cache
from tests import smollm2, toy_translation
from tests.repo import backend_guide
from tests.repo.conftest import Child
from tests.repo.run_blocks import blocks
from tests.repo.source import ROOT, library_files
from tests.sdk import make_sdk
from tests.shared_graphs import SharedGraphs

PROSE = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
DOCUMENTS = [path for path in PROSE if blocks(path.read_text())]
CARD = ROOT / "docs" / "how-to" / "compile_for_a_card.md"
OF_THEIR_OWN = (CARD, backend_guide.PAGE)  # pages with a test of their own
MODULES = [path for path in library_files() if ">>> " in path.read_text()]
WRITING = [path for path in DOCUMENTS if any(smollm2.REPO in code for _, code in blocks(path.read_text()))]
TRANSLATING = [path for path in DOCUMENTS if any(toy_translation.REPO in code for _, code in blocks(path.read_text()))]
OTHERS = [path for path in [*DOCUMENTS, *MODULES] if path not in (*OF_THEIR_OWN, *WRITING, *TRANSLATING)]
Run = Callable[..., dict[str, str]]


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.fixture(scope="module")
def run(child: Child, shared_graphs: SharedGraphs) -> Run:
    """Runs the blocks of files in a child: file → "" or what went wrong."""

    def run(files: Iterable[Path], environment: Mapping[str, str] | None = None) -> dict[str, str]:
        command = ["-m", "tests.repo.run_blocks", str(shared_graphs.pool.home), *map(str, files)]
        found: dict[str, str] = json.loads(child(command, environment).stdout.splitlines()[-1])
        return found

    return run


@pytest.fixture(scope="module")
def results(run: Run, offline: dict[str, str]) -> dict[str, str]:
    """One child runs them all, since importing torch takes longer than most blocks."""
    return run(OTHERS, offline)


@pytest.mark.parametrize("path", OTHERS, ids=name)
def test_blocks_run(path: Path, results: dict[str, str]) -> None:
    assert results[str(path)] == ""


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_blocks_with_the_real_language_model_run(run: Run, offline_smollm2: dict[str, str]) -> None:
    """It is compiled once: the pages compile it alike."""
    assert ROOT / "README.md" in WRITING
    assert run(WRITING, offline_smollm2) == {str(path): "" for path in WRITING}


@pytest.mark.slow
def test_blocks_with_the_toy_that_translates_run(run: Run, offline_toy_translation: dict[str, str]) -> None:
    assert TRANSLATING
    assert run(TRANSLATING, offline_toy_translation) == {str(path): "" for path in TRANSLATING}


def test_blocks_of_the_card_run_on_the_fake_sdk(run: Run, offline: dict[str, str], tmp_path: Path) -> None:
    sdk = make_sdk(tmp_path / "qti-aic", devices=2, nsp=14)
    assert run([CARD], offline | {"QEFF_QAIC_SDK": str(sdk.root)}) == {str(CARD): ""}


def test_the_guide_s_backend_compiles_encodes_and_generates(child: Child, offline: dict[str, str]) -> None:
    child(["-m", "tests.repo.backend_guide"], offline)


def test_the_readme_and_the_quick_start_have_blocks() -> None:
    assert {ROOT / "README.md", ROOT / "docs" / "source" / "quick_start.md"} <= set(DOCUMENTS)


def test_a_failing_block_is_reported(run: Run, tmp_path: Path) -> None:
    document = tmp_path / "page.md"
    document.write_text("# Page\n\n```python\nx = 1\n```\n\ntext\n\n```python\nassert x == 2\n```\n")
    assert f'{document}", line 10' in run([document])[str(document)]


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
