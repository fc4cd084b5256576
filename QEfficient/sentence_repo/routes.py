"""A Router: the modules of one of its routes take its place. Each route makes a program of its own."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from QEfficient.errors import LoadError, nearest
from QEfficient.hub import inside, malformed
from QEfficient.records import Json
from QEfficient.sentence_repo.files import Module

ROUTERS = ("Router", "Asym")
TASKS = ("", "query", "document")
"""What a vector may be for: nothing in particular, a query, or a document."""


@dataclass(frozen=True, slots=True)
class Route:
    """The modules of a repo along one route.

    Attributes:
        modules: With the route's own in place of the Router.
        name: The route's name; ``None`` for a repo without a Router.
        tasks: Task (``""`` is none, as ``encode`` has it) → the route that makes its vectors. Empty without a Router.
    """

    modules: tuple[Module, ...]
    name: str | None = None
    tasks: Mapping[str, str] = field(default_factory=dict)


def follow(modules: Sequence[Module], name: str | None, folder: Path) -> Route:
    """Replaces a Router by the modules of one route.

    Args:
        modules: Of ``modules.json``; one of them is a Router.
        name: The route; left out, the one that ``encode`` takes.
        folder: The repo.

    Raises:
        LoadError: No such route, none is named and the Router has no default, or its file is malformed.
    """
    places = [index for index, module in enumerate(modules) if module.kind in ROUTERS]
    routes, tasks = _read(modules[places[0]])
    if len(places) > 1:
        raise LoadError(
            "The repo has more than one Router.",
            got=f"{len(places)} in {folder}",
            allowed="one",
            do='choose a pooling by name, such as pooling="mean", on the folder of the route\'s Transformer',
        )
    chosen = name if name is not None else tasks.get("", "")
    if chosen not in routes:
        raise LoadError(
            "The repo's Router has no such route." + nearest(str(name), list(routes))
            if name is not None
            else "The repo's Router has no default route.",
            got="no route" if name is None else f"route={name!r}",
            allowed=", ".join(map(repr, routes)),
            do=f"pass route={next(iter(routes))!r}, or another of these, to from_pretrained",
        )
    found = (*modules[: places[0]], *routes[chosen], *modules[places[0] + 1 :])
    return Route(found, chosen, tasks)


def _read(router: Module) -> tuple[dict[str, tuple[Module, ...]], dict[str, str]]:
    """Route → its modules, and task → route for each task that has one."""
    path = router.folder / "router_config.json"
    if not path.is_file():
        path = router.folder / "config.json"  # as versions before 5 wrote it
    content = router.config(path.name)
    types, structure, parameters = (content.get(key) for key in ("types", "structure", "parameters"))
    if (
        not (isinstance(types, dict) and isinstance(structure, dict) and isinstance(parameters, dict) and structure)
        or not all(isinstance(kind, str) for kind in types.values())
        or not all(isinstance(ids, list) and ids and set(ids) <= set(types) for ids in structure.values())
    ):
        raise malformed(path, "types, structure and parameters of a Router")
    routes = {
        route: tuple(Module(types[module], inside(router.folder, module, path)) for module in ids)
        for route, ids in structure.items()
    }
    tasks = {task: _route_of(task, list(routes), parameters) for task in (*TASKS, *routes)}
    return routes, {task: route for task, route in tasks.items() if route is not None}


def _route_of(task: str, routes: Sequence[str], parameters: Mapping[str, Json]) -> str | None:
    """The route of a text, in sentence-transformers' order: mappings, task, modality, default."""
    mappings = {_pair(key): route for key, route in (parameters.get("route_mappings") or {}).items()}
    wanted = task or None
    for pair in ((wanted, "text"), (wanted, None), (None, "text"), (None, None)):
        if pair in mappings:
            return str(mappings[pair])
    for name in (task, "text"):
        if name in routes:
            return name
    if task:
        return None
    default = parameters.get("default_route")
    return str(default) if default else routes[0] if parameters.get("allow_empty_key", True) else None


def _pair(key: str) -> Json:
    """``"('query', 'text')"`` → the pair; what is none is kept as it is, and matches nothing."""
    try:
        return ast.literal_eval(key)
    except (SyntaxError, ValueError):
        return key
