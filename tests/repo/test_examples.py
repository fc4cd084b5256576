"""Each example runs as it stands, in a child process with a hub cache and without a network."""

import ast
import os
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.repo.conftest import Child
from tests.repo.source import ROOT

EXAMPLES = ROOT / "examples"
VECTOR = r"\{'output': array\(\[\[.*\]\]"


@pytest.mark.parametrize("path", sorted(EXAMPLES.iterdir()), ids=lambda path: path.name)
def test_an_example_is_short(path: Path) -> None:
    if path.is_file():
        assert len(path.read_text().splitlines()) < 60


def test_quick_start_is_the_one_in_the_readme() -> None:
    example = (EXAMPLES / "quick_start.py").read_text().strip()
    for document in ("README.md", "docs/source/quick_start.md"):
        assert f"```python\n{example}\n```" in (ROOT / document).read_text()
    notebook = nbformat.read(EXAMPLES / "quick_start.ipynb", as_version=4)
    cells = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    assert ast.dump(ast.parse(cells)) == ast.dump(ast.parse(example))


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


def test_notebook(offline: dict[str, str], tmp_path: Path) -> None:
    notebook = nbformat.read(EXAMPLES / "quick_start.ipynb", as_version=4)
    assert all(not cell.outputs and cell.execution_count is None for cell in notebook.cells if cell.cell_type == "code")
    client = NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}})
    client.execute(env=os.environ | offline | {"IPYTHONDIR": str(tmp_path), "JUPYTER_RUNTIME_DIR": str(tmp_path)})
    printed = "".join(output.get("text", "") for output in notebook.cells[-1].outputs)
    assert re.match(VECTOR, printed, re.DOTALL)
