"""The repository as the tests of this folder see it: its root, its rooms and what they import."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = ROOT / "QEfficient"

# The rooms from top to bottom. A room imports only from rooms above it. Those that don't exist yet keep their place.
ROOMS = (
    "errors",
    "arguments",
    "records",
    "settings",
    "progress",
    "fork",
    "cache",
    "program",
    "hub",
    "sentence_repo",
    "text",
    "pytorch_transforms",
    "architectures",
    "export",
    "onnx_transforms",
    "backends",
    "runtime",
    "inference",
    "generation",
    "numerics",
    "tasks",
    "source",
    "compress",
    "build",
    "report",
    "evaluate",
    "train",
    "analysis",
    "diagnostics",
    "auto",
    "serve",
    "scale",
    "cli",
    "transformers",
    "cloud",
)


@dataclass(frozen=True)
class Import:
    """One import, or one dotted name in a string that is imported on use.

    `inner` is true inside a function; `typing` is true under `if TYPE_CHECKING`.
    """

    file: Path
    line: int
    name: str
    inner: bool = False
    typing: bool = False

    @property
    def top(self) -> str:
        return self.name.partition(".")[0]

    @property
    def where(self) -> str:
        return f"{self.file.relative_to(ROOT)}:{self.line}"


def library_files() -> list[Path]:
    return sorted(LIBRARY.rglob("*.py"))


def module_name(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(name: str) -> str:
    """The room of a dotted name: 'QEfficient.text.facts' is of 'text'; the package itself is of ''."""
    return name.split(".")[1] if "." in name else ""


def imports(file: Path) -> Iterator[Import]:
    yield from _walk(ast.parse(file.read_text(), str(file)), file, inner=False, typing=False)


def _walk(node: ast.AST, file: Path, *, inner: bool, typing: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        match child:
            case ast.Import(names=names):
                yield from (Import(file, child.lineno, alias.name, inner, typing) for alias in names)
            case ast.ImportFrom(names=names):
                base = _absolute(file, child)
                yield from (Import(file, child.lineno, f"{base}.{alias.name}", inner, typing) for alias in names)
            case ast.Constant(value=str(text)) if text.startswith("QEfficient.") and " " not in text:
                yield Import(file, child.lineno, text.partition(":")[0], True, typing)
            case ast.If(test=ast.Name("TYPE_CHECKING")):
                yield from _walk(ast.Module(child.body, []), file, inner=inner, typing=True)
                yield from _walk(ast.Module(child.orelse, []), file, inner=inner, typing=typing)
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.Lambda():
                yield from _walk(child, file, inner=True, typing=typing)
            case _:
                yield from _walk(child, file, inner=inner, typing=typing)


def _absolute(file: Path, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    package = list(file.relative_to(ROOT).parts[:-1])
    parts = package[: len(package) - node.level + 1]
    return ".".join([*parts, *([node.module] if node.module else [])])
