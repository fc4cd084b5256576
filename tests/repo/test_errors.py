"""Every error of the library answers its four questions: what happened, the value, what is allowed, what to do."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.repo.source import LIBRARY, library_files

TREE = LIBRARY / "errors.py"
CLASSES = {node.name for node in ast.parse(TREE.read_text()).body if isinstance(node, ast.ClassDef)}
VALUE = {"got", "status"}  # a DeviceError shows the runtime's status as the value


def wrong(path: Path, text: str) -> Iterator[str]:
    """Constructions of the library's errors that leave a question open, and classes raised without an answer."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Raise) and name_of(node.exc) in CLASSES:
            yield f"{path.name}:{node.lineno} raises {name_of(node.exc)} with nothing said"
        if isinstance(node, ast.Call) and name_of(node.func) in CLASSES:
            given = {one.arg for one in node.keywords if one.arg and not empty(one.value)}
            missing = ({"allowed", "do"} - given) | (set() if given & VALUE else {"got"})
            if missing or len(node.args) != 1 or empty(node.args[0]):
                yield f"{path.name}:{node.lineno} {name_of(node.func)} without {sorted(missing) or 'what happened'}"


def name_of(node: ast.AST | None) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def empty(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value in (None, "")


@pytest.mark.parametrize("path", [path for path in library_files() if path != TREE], ids=lambda path: path.stem)
def test_every_error_says_what_and_what_to_do(path: Path) -> None:
    assert not list(wrong(path, path.read_text()))


@pytest.mark.parametrize(
    "text",
    [
        "raise InputError",
        "raise InputError('x')",
        "raise errors.InputError('x', got=1, allowed='y')",
        "e = InputError('x', got=1, allowed='y', do=None)",
        "raise InputError('', got=1, allowed='y', do='z')",
        "raise InputError('x', allowed='y', do='z') from e",
    ],
)
def test_an_open_question_is_found(text: str) -> None:
    assert list(wrong(Path("x.py"), text))


def test_a_whole_answer_passes() -> None:
    text = "raise DeviceError(f'{x}', status=s, allowed='y', do='z')\nraise InputError('x', got=v, allowed=a, do=d)"
    assert not list(wrong(Path("x.py"), text))
