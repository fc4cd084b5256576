"""A room imports only from rooms above it, at any depth, lazily or not."""

import graphlib
from pathlib import Path

import pytest

from tests.repo.source import LIBRARY, ROOMS, Import, imports, library_files, module_name, room_of

# Packages that a room never imports, not even inside a function. `backends` and `runtime` run on machines without
# them; the rooms before serve a warm cache and a saved program.
WITHOUT_TORCH = (
    "errors",
    "arguments",
    "records",
    "settings",
    "progress",
    "cache",
    "program",
    "hub",
    "sentence_repo",
    "text",
    "backends",
    "runtime",
)
HEAVY = {"torch", "transformers", "onnx", "onnx_ir", "onnxscript"}
# Not on the warm path although its room is: it runs only while a program is being made.
COLD = {"QEfficient.text.convert"}
# These may be imported only when a function needs them.
LAZY = {"huggingface_hub", "onnxruntime", "google", "sentence_transformers"}
REEXPORTS = ("transformers", "generation")
# A table of class paths that are imported when somebody asks for one by name: its backend may stand in a room below.
BY_NAME = {"QEfficient.backends.registry": {"QEfficient.numerics.emulator"}}


def ours(file: Path) -> list[Import]:
    return [found for found in imports(file) if found.top == "QEfficient"]


def test_every_room_has_its_place_in_the_order() -> None:
    rooms = {room_of(module_name(file)) for file in library_files()} - {""}
    assert rooms <= set(ROOMS)


def test_the_order_in_the_architecture_document_is_this_one() -> None:
    text = (LIBRARY.parent / "docs" / "explanation" / "architecture.md").read_text()
    drawing = text.partition("```text")[2].partition("```")[0]
    rooms = [line.split()[0].rstrip("/").removesuffix(".py") for line in drawing.splitlines() if line.strip()]
    present = {room_of(module_name(file)) for file in library_files()}
    assert [room for room in rooms if room in ROOMS] == [room for room in ROOMS if room in present]


@pytest.mark.parametrize("room", ROOMS)
def test_imports_point_up(room: str) -> None:
    files = [file for file in library_files() if room_of(module_name(file)) == room]
    above = {*ROOMS[: ROOMS.index(room) + 1]}
    wrong = [
        f"{found.where} imports {found.name}"
        for file in files
        for found in ours(file)
        if room_of(found.name) not in above and found.name not in BY_NAME.get(module_name(file), ())
    ]
    assert not wrong


def test_modules_do_not_import_each_other_in_a_ring() -> None:
    modules = {module_name(file): file for file in library_files()}
    graph: dict[str, set[str]] = {}
    for name, file in modules.items():
        found = {one.name for one in ours(file) if not one.inner and not one.typing}
        targets = {target if target in modules else target.rpartition(".")[0] for target in found}
        graph[name] = (targets & set(modules)) - {name}
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError, which names the ring


@pytest.mark.parametrize("room", WITHOUT_TORCH)
def test_rooms_of_the_warm_path_never_import_the_heavy_packages(room: str) -> None:
    files = [file for file in library_files() if room_of(module_name(file)) == room and module_name(file) not in COLD]
    found = [one for file in files for one in imports(file)]
    assert not [f"{one.where} imports {one.name}" for one in found if one.top in HEAVY and not one.typing]
    eager = [one for one in found if not one.inner and not one.typing]
    # a backend's own file may import its runtime: the registry imports that file on use
    assert not [f"{one.where} imports {one.name}" for one in eager if one.top in LAZY and room != "backends"]


def test_graph_passes_need_only_onnx() -> None:
    found = [
        one for file in library_files() if room_of(module_name(file)) == "onnx_transforms" for one in imports(file)
    ]
    assert not [
        f"{one.where} imports {one.name}" for one in found if one.top in {"torch", "transformers", "onnxruntime"}
    ]


@pytest.mark.parametrize("room", REEXPORTS)
def test_reexports_hold_no_code(room: str) -> None:
    files = [file for file in library_files() if room_of(module_name(file)) == room]
    assert files
    assert max(len(file.read_text().splitlines()) for file in files) < 60
    outside = [one for file in files for one in imports(file) if one.top not in {"QEfficient", "__future__", "typing"}]
    assert not [f"{one.where} imports {one.name}" for one in outside]
