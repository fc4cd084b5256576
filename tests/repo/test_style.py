"""Habits of the house that a machine can check."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.repo.source import LIBRARY, ROOT, imports, library_files, module_name, room_of

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
WRITTEN = [
    path
    for folder in ("QEfficient", "tests", "docs", "examples", "benchmarks", ".ci")
    for path in sorted((ROOT / folder).rglob("*"))
    if path.is_file() and path.suffix in {".py", ".md", ".rst", ".ipynb", "", ".toml"} and "_build" not in path.parts
]


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def requirements(extra: str = "") -> list[Requirement]:
    listed = PROJECT["optional-dependencies"][extra] if extra else PROJECT["dependencies"]
    return [Requirement(text) for text in listed]


def test_a_file_is_short_or_says_why_not() -> None:
    for path in library_files():
        text = path.read_text()
        docstring = ast.get_docstring(ast.parse(text)) or ""
        assert len(text.splitlines()) <= 450 or "Longer than 450 lines because" in docstring, name(path)


def test_a_function_is_short() -> None:
    for path in library_files():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                assert body_lines(node) <= 60, f"{name(path)}:{node.lineno} {node.name}"


def body_lines(function: ast.FunctionDef) -> int:
    """Lines of a function's body, without signature and docstring."""
    body = function.body[1:] if ast.get_docstring(function) else function.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def test_no_leftovers_and_no_machine_paths() -> None:
    marks = re.compile(r"\b(?:TODO|FIXME|XXX|HACK)\b|/(?:work|root)/\w+|/opt/(?!qti-aic)\w+")
    found = {name(path): marks.findall(path.read_text()) for path in WRITTEN if path != Path(__file__)}
    assert not {key: value for key, value in found.items() if value}


def test_no_error_is_swallowed() -> None:
    for path in library_files():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ExceptHandler):
                where = f"{name(path)}:{node.lineno}"
                assert node.type is not None, where
                broad = isinstance(node.type, ast.Name) and node.type.id in {"Exception", "BaseException"}
                assert not (broad and isinstance(node.body[0], ast.Pass)), where


def test_only_the_settings_read_the_environment() -> None:
    """A child process may be given a copy of it; no other use."""
    for path in library_files():
        if path != LIBRARY / "settings.py":
            assert not re.findall(r"getenv\(|putenv\(|os\.environ(?:\.get\(|\[)", path.read_text()), name(path)


def test_dependencies_are_ranges() -> None:
    everything = [one for extra in ("", *PROJECT["optional-dependencies"]) for one in requirements(extra)]
    for one in everything:
        assert one.url is None
        assert not {clause.operator for clause in one.specifier} & {"==", "===", "~="}
        assert ">=" in {clause.operator for clause in one.specifier} or one.name == PROJECT["name"]


def test_what_the_library_imports_is_declared() -> None:
    core = {canonicalize_name(one.name) for one in requirements()}
    # an extra's packages are for the room that needs them, or the file: of a backend, torch's transforms, generation
    names = ("adapters", "evaluate", "grammar", "openvino", "train", "translation")
    extras = {extra: {canonicalize_name(one.name) for one in requirements(extra)} for extra in names}
    known = {top: {canonicalize_name(one) for one in names} for top, names in packages_distributions().items()}
    found = {one for file in library_files() for one in imports(file)}
    declared = {one: core | extras.get(_extra_of(module_name(one.file)), set()) for one in found}
    foreign = {one for one in found if one.top not in sys.stdlib_module_names and one.top != "QEfficient" and one.top}
    # the SDK's two modules are loaded from its folder; `google` is the namespace of protobuf
    missing = [f"{one.where} imports {one.name}" for one in foreign if not known.get(one.top, set()) & declared[one]]
    assert not [text for text in missing if "qaicrt" not in text and "QAicApi_pb2" not in text]


def _extra_of(module: str) -> str:
    room = room_of(module)
    by_file = room in ("backends", "pytorch_transforms", "generation", "text")
    return module.rpartition(".")[2].partition("_")[0] if by_file else room


def test_what_the_tests_import_is_declared() -> None:
    declared = {
        canonicalize_name(one.name)
        for extra in (
            "",
            "quickstart",
            "openvino",
            "adapters",
            "evaluate",
            "train",
            "gguf",
            "translation",
            "docs",
            "test",
        )
        for one in requirements(extra)
    }
    known = {top: {canonicalize_name(one) for one in names} for top, names in packages_distributions().items()}
    files = [path for folder in ("tests", "examples", "benchmarks") for path in (ROOT / folder).rglob("*.py")]
    foreign = {one for file in files for one in imports(file) if known.get(one.top)}
    assert not [
        f"{one.where} imports {one.name}" for one in foreign if not known[one.top] & (declared | {"qefficient"})
    ]


def test_what_is_declared_is_imported() -> None:
    known = {top: {canonicalize_name(one) for one in names} for top, names in packages_distributions().items()}
    used = {dist for file in library_files() for one in imports(file) for dist in known.get(one.top, set())}
    # torch.onnx imports onnxscript; protobuf is imported by the SDK's own QAicApi_pb2
    unused = {canonicalize_name(one.name) for one in requirements()} - used - {"onnxscript", "protobuf"}
    assert not unused


def test_each_room_is_named_in_the_architecture_document() -> None:
    text = (ROOT / "docs" / "explanation" / "architecture.md").read_text()
    rooms = {room_of(module_name(file)) for file in library_files()} - {""}
    assert not {room for room in rooms if not re.search(rf"\b{room}(?:/|\.py)", text)}


def test_the_package_holds_code_templates_and_one_table() -> None:
    """No weights, vocabularies or other data: a script that is given a wrong folder leaves some there."""
    known = {".py", ".pyi", ".html", ".css", ".svg", ".typed", ".md", ".csv"}
    files = (path for path in LIBRARY.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    assert not [name(path) for path in files if path.suffix not in known]


def test_each_folder_with_modules_is_a_package() -> None:
    folders = {file.parent for file in library_files()}
    assert not {folder for folder in folders if not (folder / "__init__.py").is_file()}
