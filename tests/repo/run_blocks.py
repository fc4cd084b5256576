"""Runs the Python blocks of documents, or the doctests of modules: the child process of test_code_blocks.py.

    python -m tests.repo.run_blocks POOL FILE...

A Markdown file is one namespace: its blocks run in order, under the line numbers of the file. A Python file has its
docstrings run as doctests. Prints one JSON object: file → "" or what went wrong. POOL is the folder of the graphs that
the run's tests share: the blocks export the same MiniLM as many of them.
"""

import contextlib
import doctest
import importlib
import io
import json
import os
import re
import sys
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path

from tests import operators
from tests.shared_graphs import SharedGraphs

FENCE = re.compile(r"^```python[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(text: str) -> list[tuple[int, str]]:
    """Line number of the first line, and code, of each fenced Python block."""
    return [(text.count("\n", 0, found.start(1)), found.group(1)) for found in FENCE.finditer(text)]


def run_document(path: Path) -> str:
    namespace: dict[str, object] = {"__name__": "__main__"}
    for line, code in blocks(path.read_text()):
        try:
            exec(compile("\n" * line + code, str(path), "exec"), namespace)
        except Exception:
            return traceback.format_exc()
    return ""


def run_docstrings(path: Path, root: Path) -> str:
    name = ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
    module = importlib.import_module(name)
    report = io.StringIO()
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    for test in doctest.DocTestFinder().find(module, name):
        runner.run(test, out=report.write)
    return report.getvalue()


def main(pool: str, *files: str) -> None:
    with operators.once(), SharedGraphs(Path(pool)).in_use():
        print(json.dumps(run(files)))


def run(files: Sequence[str]) -> dict[str, str]:
    root = Path(__file__).resolve().parents[2]
    results = {}
    for file in map(Path, files):
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
            os.chdir(folder)  # a document may write files
            results[str(file)] = run_document(file) if file.suffix == ".md" else run_docstrings(file, root)
            os.chdir(root)
    return results


if __name__ == "__main__":
    main(*sys.argv[1:])
