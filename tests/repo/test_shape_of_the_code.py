"""What keeps one's way in the code easy to find: few parameters, one name a class, parents that know themselves."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from tests.repo.source import library_files, module_name, room_of

MOST = 7
# What people call by the names of other libraries has their parameters.
PUBLIC_ROOMS = {"auto", "cli", "errors"}


def functions(tree: ast.Module) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for node in ast.walk(tree):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                yield (node.name if isinstance(node, ast.ClassDef) else ""), child


def parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    args = function.args
    named = [*args.posonlyargs, *args.args, *args.kwonlyargs]
    return len([one for one in named if one.arg not in ("self", "cls")]) + bool(args.vararg) + bool(args.kwarg)


def too_many(file: Path, tree: ast.Module) -> list[str]:
    """Functions with more than :data:`MOST` parameters, public methods and commands apart."""
    public = room_of(module_name(file)) in PUBLIC_ROOMS
    return [
        f"{module_name(file)}.{owner}.{function.name} has {parameters(function)}"
        for owner, function in functions(tree)
        if parameters(function) > MOST
        and not (public and (function.name == "__init__" or not function.name.startswith("_")))
    ]


def test_no_function_but_public_methods_and_commands_has_more_than_seven_parameters() -> None:
    found = [line for file in library_files() for line in too_many(file, ast.parse(file.read_text()))]
    assert not found


def test_a_planted_function_is_found() -> None:
    tree = ast.parse("class A:\n    def f(self, a, b, c, d, e, *f, g=1, **h): ...")
    assert too_many(library_files()[1], tree)


def test_no_two_public_classes_share_a_name() -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for file in library_files():
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(module_name(file))
    assert not {name: where for name, where in places.items() if len(where) > 1}


def undeclared(classes: dict[str, ast.ClassDef]) -> list[str]:
    """Names that a class reads off ``self`` and that only classes below it have."""
    found = []
    for name, node in classes.items():
        known, open_end = _known(node, classes)
        if open_end:  # a base of another library's may declare anything
            continue
        read = {
            each.attr
            for each in ast.walk(node)
            if isinstance(each, ast.Attribute) and isinstance(each.value, ast.Name) and each.value.id == "self"
        }
        found += [f"{name}.{attribute}" for attribute in sorted(read - known) if not attribute.startswith("__")]
    return found


def _known(node: ast.ClassDef, classes: dict[str, ast.ClassDef]) -> tuple[set[str], bool]:
    known: set[str] = set()
    for child in node.body:
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            known.add(child.name)
        elif isinstance(child, ast.AnnAssign) and isinstance(child.target, ast.Name):
            known.add(child.target.id)
        elif isinstance(child, ast.Assign):
            known |= {one.id for target in child.targets for one in ast.walk(target) if isinstance(one, ast.Name)}
    for each in ast.walk(node):
        targets = (
            each.targets if isinstance(each, ast.Assign) else [each.target] if isinstance(each, ast.AnnAssign) else []
        )
        for target in targets:
            for one in ast.walk(target):
                if isinstance(one, ast.Attribute) and isinstance(one.value, ast.Name) and one.value.id == "self":
                    known.add(one.attr)
    open_end = False
    for base in node.bases:
        name = base.id if isinstance(base, ast.Name) else ""
        if name in classes:
            more, ends = _known(classes[name], classes)
            known, open_end = known | more, open_end or ends
        elif name not in ("object", "Protocol", "Generic"):
            open_end = True
    return known, open_end


def test_no_parent_calls_what_only_its_children_have() -> None:
    classes = {
        node.name: node
        for file in library_files()
        for node in ast.parse(file.read_text()).body
        if isinstance(node, ast.ClassDef)
    }
    assert not undeclared(classes)


def test_a_planted_parent_is_found() -> None:
    tree = ast.parse(
        "class P:\n    def f(self): return self.g()\n"
        "    if TYPE_CHECKING:\n        def g(self): ...\n"
        "class C(P):\n    def g(self): ..."
    )
    assert undeclared({node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}) == ["P.g"]
