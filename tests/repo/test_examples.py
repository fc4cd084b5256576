"""Each example runs as it stands, in a child process with a hub cache and without a network."""

import ast
import re
from pathlib import Path

import nbformat
import pytest

from tests.repo.conftest import Child, printed_by
from tests.repo.source import ROOT

EXAMPLES = ROOT / "examples"
TUNING = {  # notebook → a piece of what it prints, with any number of digits
    "sentiment": r"'label': '(positive|negative)'",
    "embeddings": r"\[\[ *-?\d\.\d+ +-?\d\.\d+ *\]\]",  # numpy fills up the shorter number
    "reranker": r"\d\.\d+ (The|I have|Even) .*\b(acting|plot|music|ending|dialogue|editing|story|script)\b",
    "entities": r"held-out loss: \d\.\d+ before, \d\.\d+ after",
    "distill": r"mean cosine to the teacher: 0\.\d+",
}
VECTOR = r"\{'output': array\(\[\[.*\]\]"


@pytest.mark.parametrize("path", sorted(EXAMPLES.iterdir()), ids=lambda path: path.name)
def test_an_example_is_short(path: Path) -> None:
    if path.is_file():
        assert len((code(path) if path.suffix == ".ipynb" else path.read_text()).splitlines()) < 60


def code(notebook: Path) -> str:
    """Its cells in one."""
    return "\n".join(cell.source for cell in nbformat.read(notebook, as_version=4).cells if cell.cell_type == "code")


def test_quick_start_is_the_one_in_the_readme() -> None:
    example = (EXAMPLES / "quick_start.py").read_text().strip()
    for document in ("README.md", "docs/source/quick_start.md"):
        assert f"```python\n{example}\n```" in (ROOT / document).read_text()
    assert ast.dump(ast.parse(code(EXAMPLES / "quick_start.ipynb"))) == ast.dump(ast.parse(example))


def test_the_quick_start_of_generation_is_the_one_in_the_readme() -> None:
    example = (EXAMPLES / "generate_quick_start.py").read_text().strip()
    assert f"```python\n{example}\n```" in (ROOT / "README.md").read_text()


@pytest.mark.slow
@pytest.mark.timeout(1200)  # SmolLM2 is written, exported, verified and compiled
def test_make_quickstart_generate_s_driver(child: Child, tmp_path: Path) -> None:
    done = child([str(EXAMPLES / "run_generate_quick_start.py")], {"TMPDIR": str(tmp_path)})
    *answer, last = done.stdout.strip().splitlines()
    found = re.fullmatch(r"tokens equal to HuggingFace fp32: (\d+) of (\d+)", last)
    assert found and found[1] == found[2] and int(found[2]) >= 5
    assert "Paris" in " ".join(answer)
    assert done.stderr == ""
    assert not list(tmp_path.glob("qefficient-*"))


def test_quick_start(child: Child, offline: dict[str, str]) -> None:
    done = child([str(EXAMPLES / "quick_start.py")], offline)
    assert re.fullmatch(VECTOR + r".*\}", done.stdout.strip(), re.DOTALL)
    assert done.stderr == ""


def test_make_quickstart_s_driver(child: Child, tmp_path: Path) -> None:
    done = child([str(EXAMPLES / "run_quick_start.py")], {"TMPDIR": str(tmp_path)})
    found = re.search(r"^cosine to HuggingFace fp32: (0\.\d+|1\.0+)$", done.stdout.strip().splitlines()[-1])
    assert found
    assert float(found[1]) >= 0.99999
    assert re.match(VECTOR, done.stdout, re.DOTALL)
    assert done.stderr == ""
    assert not list(tmp_path.glob("qefficient-*"))  # its throw-away folder is gone


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.ipynb")), ids=lambda path: path.name)
def test_a_notebook_holds_no_output(path: Path) -> None:
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in cells)


def test_notebook(offline: dict[str, str], tmp_path: Path) -> None:
    printed = printed_by(EXAMPLES / "quick_start.ipynb", offline, tmp_path)
    assert re.match(VECTOR, printed[-1], re.DOTALL)


@pytest.mark.slow
@pytest.mark.sweep
@pytest.mark.parametrize("name", TUNING)
def test_a_notebook_on_tuning_runs_small(name: str, offline: dict[str, str], tmp_path: Path) -> None:
    printed = "".join(printed_by(EXAMPLES / f"{name}.ipynb", offline, tmp_path))
    assert re.search(TUNING[name], printed)
    [program] = tmp_path.glob("*-program")
    assert str(program) in printed


@pytest.mark.parametrize("name", TUNING)
def test_a_notebook_trains_as_its_demo_does(name: str) -> None:
    """The same classes, and every keyword that both say but for how long."""
    notebook, demo = code(EXAMPLES / f"{name}.ipynb"), (ROOT / "benchmarks" / "demos" / f"{name}.py").read_text()
    classes = set(re.findall(r"QEFFAutoModel\w*", notebook))
    assert classes and classes <= set(re.findall(r"QEFFAutoModel\w*", demo))
    ours, theirs = training(notebook), training(demo)
    common = ours.keys() & theirs.keys() - {"epochs"}
    assert common
    assert {key: ours[key] for key in common} == {key: theirs[key] for key in common}
    text = (EXAMPLES / f"{name}.ipynb").read_text()
    assert f"make demo-{name}" in text and re.search(rf"^demo-{name}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


def training(source: str) -> dict[str, object]:
    """The keywords of a file's training that are literals, or names that it gives to some."""
    tree = ast.parse(source)
    named = {
        node.targets[0].id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and isinstance(node.value, ast.Constant)
    }
    calls = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and getattr(node.func, "attr", None) in ("fine_tune", "distill")
    ]
    found: dict[str, object] = {}
    for keyword in (keyword for call in calls for keyword in call.keywords if keyword.arg):
        if isinstance(keyword.value, ast.Constant):
            found[keyword.arg or ""] = keyword.value.value
        elif isinstance(keyword.value, ast.Name) and keyword.value.id in named:
            found[keyword.arg or ""] = named[keyword.value.id]
    return found
