"""A Router of a sentence-transformers repo: which route makes which vectors, and the modules along it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from sentence_transformers.base.modules import Normalize, Router

from QEfficient.errors import LoadError
from QEfficient.records import Json
from QEfficient.sentence_repo import modules_of, read

KIND = "sentence_transformers.base.modules.router.Router"
TRANSFORMER = "sentence_transformers.base.modules.transformer.Transformer"
POOLING = "sentence_transformers.sentence_transformer.modules.pooling.Pooling"


def router(folder: Path, names: list[str], **options: Any) -> Any:
    """A Router that sentence-transformers saved; its routes hold stand-ins that its file then calls Transformers."""
    theirs = Router({name: [Normalize()] for name in names}, **options)
    folder.mkdir(exist_ok=True)
    theirs.save(str(folder))
    path = folder / "router_config.json"
    content = json.loads(path.read_text())
    content["types"] = dict.fromkeys(content["types"], TRANSFORMER)
    path.write_text(json.dumps(content))
    (folder / "modules.json").write_text(json.dumps([{"path": "", "type": KIND}]))
    return theirs.eval()


MAPPED = {("query", "text"): "a", ("document", None): "b", (None, ("image", "text")): "a"}


@pytest.mark.parametrize(
    ("names", "options"),
    [
        (["query", "document"], {}),
        (["query", "document"], {"default_route": "document"}),
        (["document", "query"], {"allow_empty_key": False}),
        (["text", "image"], {}),
        (["a", "b"], {"route_mappings": MAPPED, "default_route": "b"}),
        (["a", "b"], {"route_mappings": {(None, "text"): "b", ("query", None): "a"}}),
        (["a", "b"], {"route_mappings": {(None, None): "b"}}),
        (["a", "query"], {"default_route": "a"}),
    ],
)
def test_tasks_take_the_routes_of_sentence_transformers(
    tmp_path: Path, names: list[str], options: dict[str, Any]
) -> None:
    theirs = router(tmp_path, names, **options)
    expected = {}
    for task in ("", "query", "document", *names):
        try:
            expected[task] = theirs._resolve_route(task or None, "text")
        except ValueError:
            continue
    for name in names:
        found = read(tmp_path, modules_of(tmp_path, name))
        assert found is not None and found.route == name and found.tasks == expected
        assert found.transformer.name.startswith(f"{name}_0_")
    if "" in expected:
        found = read(tmp_path)
        assert found is not None and found.route == expected[""]
    else:
        with pytest.raises(LoadError, match="no default route"):
            read(tmp_path)


def test_a_router_behind_the_pooling_keeps_the_modules_around_it(tmp_path: Path) -> None:
    router(tmp_path / "2_Router", ["query", "document"])
    kinds = [("", TRANSFORMER), ("1_Pooling", POOLING), ("2_Router", KIND.replace("Router", "Asym")), ("3", POOLING)]
    (tmp_path / "modules.json").write_text(json.dumps([{"path": path, "type": kind} for path, kind in kinds]))
    found = read(tmp_path, modules_of(tmp_path, "document"))
    assert found is not None and found.transformer == tmp_path
    folders = ["", "1_Pooling", "2_Router/document_0_Normalize", "3"]
    assert [module.folder for module in found.modules] == [tmp_path / folder for folder in folders]


def test_the_file_of_older_versions(tmp_path: Path) -> None:
    router(tmp_path, ["query", "document"])
    (tmp_path / "router_config.json").rename(tmp_path / "config.json")
    found = read(tmp_path, modules_of(tmp_path, "document"))
    assert found is not None and found.route == "document"


@pytest.mark.parametrize(("route", "says"), [("querry", "Did you mean 'query'"), ("", "no such route")])
def test_an_unknown_route_is_named(tmp_path: Path, route: str, says: str) -> None:
    router(tmp_path, ["query", "document"])
    with pytest.raises(LoadError, match=says):
        modules_of(tmp_path, route)


@pytest.mark.parametrize(
    "broken",
    [
        {"structure": {}},
        {"structure": {"query": ["missing"]}},
        {"types": {"x": 3}},
        {"parameters": None},
        {"structure": {"query": []}},
    ],
)
def test_a_malformed_router(tmp_path: Path, broken: dict[str, Json]) -> None:
    router(tmp_path, ["query"])
    path = tmp_path / "router_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | broken))
    with pytest.raises(LoadError, match="malformed"):
        read(tmp_path)


def test_a_module_outside_of_the_folder_is_refused(tmp_path: Path) -> None:
    router(tmp_path, ["query"])
    path = tmp_path / "router_config.json"
    path.write_text(path.read_text().replace("query_0_Normalize", "../../query_0_Normalize"))
    with pytest.raises(LoadError, match="outside"):
        read(tmp_path)


def test_no_router_no_routes_and_only_one(tmp_path: Path) -> None:
    router(tmp_path / "r", ["query"])
    two = [{"path": "", "type": TRANSFORMER}, {"path": "r", "type": KIND}, {"path": "r", "type": KIND}]
    for listing, route, says in ((two[:1], "query", "has no routes"), (two, "query", "more than one Router")):
        (tmp_path / "modules.json").write_text(json.dumps(listing))
        with pytest.raises(LoadError, match=says):
            modules_of(tmp_path, route)
