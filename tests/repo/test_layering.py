"""A room imports only from rooms above it, inside functions too, and neither rooms nor files form a ring."""

import graphlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

from tests.repo import source
from tests.repo.source import LIBRARY, ROOMS, Import, imports, library_files, module_name, room_of

# Packages that a room never imports, not even inside a function. `backends` and `runtime` run on machines without
# them; the rooms before serve a warm cache and a saved program.
WITHOUT_TORCH = (
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
    "backends",
    "runtime",
    "generation",
)
HEAVY = {"torch", "transformers", "onnx", "onnx_ir", "onnxscript"}
# Not on the warm path although its room is: it runs only while a program is being made.
COLD = {"QEfficient.text.convert", "QEfficient.text.translation_pieces", "QEfficient.text.convert_sides"}
# These may be imported only when a function needs them.
LAZY = {"huggingface_hub", "onnxruntime", "google", "sentence_transformers"}
REEXPORTS = ("transformers",)
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


# Rooms that name public classes by the package's lazy table, which may name any room.
BY_TABLE = {"cli", "transformers", "cloud"}


def upward(files: Iterable[Path]) -> list[str]:
    """Imports from a room that is not above, those inside functions and under ``TYPE_CHECKING`` among them."""
    wrong = []
    for file in files:
        room = room_of(module_name(file))
        above = {*ROOMS[: ROOMS.index(room) + 1], *([""] if room in BY_TABLE else [])}
        by_name = BY_NAME.get(module_name(file), ())
        wrong += [
            f"{found.where} imports {found.name}"
            for found in ours(file)
            if room_of(found.name).strip("*") not in above and found.name not in by_name
        ]
    return wrong


def files_graph(files: Mapping[str, Path]) -> dict[str, set[str]]:
    """Module → the modules that it imports, inside functions too; what only a type checker reads is left out."""
    graph: dict[str, set[str]] = {}
    for name, file in files.items():
        found = {one.name for one in ours(file) if not one.typing and one.name not in BY_NAME.get(name, ())}
        targets = {target if target in files else target.rpartition(".")[0] for target in found}
        graph[name] = (targets & set(files)) - {name}
    return graph


def rooms_graph(graph: Mapping[str, Iterable[str]]) -> dict[str, set[str]]:
    rooms: dict[str, set[str]] = {}
    for name, targets in graph.items():
        room = room_of(name)
        if room:
            rooms.setdefault(room, set()).update({room_of(target) for target in targets} - {room, ""})
    return rooms


@pytest.mark.parametrize("room", ROOMS)
def test_imports_point_up(room: str) -> None:
    assert not upward(file for file in library_files() if room_of(module_name(file)) == room)


def test_neither_files_nor_rooms_import_each_other_in_a_ring() -> None:
    graph = files_graph({module_name(file): file for file in library_files()})
    graph.pop("QEfficient")  # its table names what is loaded when somebody asks for it
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError, which names the ring
    graphlib.TopologicalSorter(rooms_graph(graph)).prepare()


def test_a_planted_import_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Upward and in a ring, both hidden inside a function."""
    monkeypatch.setattr(source, "ROOT", tmp_path)
    for name, target in (("text/low", "source.high"), ("source/high", "source.other"), ("source/other", "source.high")):
        file = tmp_path / "QEfficient" / f"{name}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"def f():\n    from QEfficient.{target} import g\n")
    files = {module_name(file): file for file in sorted((tmp_path / "QEfficient").rglob("*.py"))}
    assert upward(files.values()) == ["QEfficient/text/low.py:2 imports QEfficient.source.high.g"]
    with pytest.raises(graphlib.CycleError, match="high"):
        graphlib.TopologicalSorter(files_graph(files)).prepare()


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
