"""What becomes of an Auto object that is pickled or copied, for another process or this one.

A pickle holds no weights. A compiled or saved model is the path of its program, with the settings of the object; a
model that came from files is these files as well, so that it can be compiled again. What is in memory only stays there.
"""

from __future__ import annotations

import copy
import logging
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from QEfficient import hub
from QEfficient import program as programs
from QEfficient.auto.road import Loaded
from QEfficient.backends import registry
from QEfficient.build.saved import Opened
from QEfficient.cache import content_key, json_like
from QEfficient.errors import LoadError, UsageError
from QEfficient.records import Json
from QEfficient.source.adapter import Adapter
from QEfficient.source.checkpoint import Checkpoint
from QEfficient.source.loaded_module import LoadedModule
from QEfficient.source.origin import Origin

if TYPE_CHECKING:
    from QEfficient.auto.description import Description

D = TypeVar("D", bound="Description[Any]")
_NOT_KEPT = ("_origin", "_loaded", "_lock", "_config", "_encoder")
log = logging.getLogger("QEfficient")


@dataclass(frozen=True, slots=True)
class _Source:
    """The files that a model came from, and the arguments that it was asked for with."""

    files: hub.ModelFiles
    auto_class: str
    args: tuple[Json, ...]
    keywords: dict[str, Json]
    route: str | None
    adapter: Adapter | None
    needs_pooler: bool

    @classmethod
    def of(cls, model: Description[Any]) -> _Source | None:
        """``None`` where the model is more than its files: a module in memory, or code of the caller's."""
        origin = model._origin
        if not isinstance(origin, Checkpoint) or origin.handed_out or model._has_code():
            return None
        if not json_like([origin.keywords, *origin.args]):
            return None
        found = (origin.files, origin.auto_class, origin.args, origin.keywords, origin.route, origin.adapter)
        return cls(*found, origin.needs_pooler)

    def again(self) -> Checkpoint:
        """The model, its weights not read."""
        if not self.files.folder.is_dir():
            raise _not_here("model", self.files.folder)
        keywords = self.keywords if self.route is None else {**self.keywords, "route": self.route}
        origin = Checkpoint(self.files, self.auto_class, self.args, keywords, adapter=self.adapter)
        origin.needs_pooler = self.needs_pooler
        return origin


@dataclass(frozen=True, slots=True)
class _Opened:
    """A program by its path; its key tells it from another one that is there later."""

    path: Path
    key: str
    reason: str
    strict: bool

    @classmethod
    def of(cls, loaded: Loaded | None) -> _Opened | None:
        """``None`` for a model that is not compiled."""
        if loaded is None:
            return None
        return cls(loaded.program.path, content_key(loaded.program.manifest.key), loaded.reason, loaded.strict)

    def again(self) -> Opened:
        """The program, its session not opened."""
        if not hub.is_program(self.path):
            raise _not_here("program", self.path)
        program = programs.load(self.path)
        if content_key(program.manifest.key) != self.key:
            raise LoadError(
                "Another program than the one that was pickled stands at its path.",
                got=f"{self.path}, made {program.manifest.created}",
                allowed="the same program, or the same one made again",
                do="pickle the model again, or load this one with from_pretrained(path)",
            )
        return Opened(program, registry.get(program.manifest.target.backend), self.reason, self.strict)


def reduced(model: Description[Any]) -> tuple[Any, ...]:
    """For ``__reduce__``: how an object is made again from its program's path, its files, or both.

    Raises:
        UsageError: It is in memory only.
    """
    source, opened = _Source.of(model), _Opened.of(model._loaded)
    if source is None and opened is None:
        raise UsageError(
            "A model that is in memory only can't be pickled: its pickle would hold neither program nor files.",
            got=repr(model),
            allowed="a compiled or saved model, which is pickled as its program's path, or one that from_pretrained "
            "found and nobody has changed",
            do="call compile() before it is sent to another process, or save_pretrained(folder) and open it there",
        )
    state = {name: value for name, value in vars(model).items() if name not in _NOT_KEPT} | model._without_code()
    if opened is not None:
        log.debug("%r is pickled as the path of its program", model)
    return _made_again, (type(model), source, opened, state)


def _made_again(cls: type[D], source: _Source | None, opened: _Opened | None, state: dict[str, Any]) -> D:
    origin = None if source is None else source.again()
    return _with_state(cls, origin, None if opened is None else cls._open(opened.again()), state)


def _with_state(cls: type[D], origin: Origin | None, loaded: Loaded | None, state: dict[str, Any]) -> D:
    model = cls.__new__(cls)
    model._begin(origin, loaded)
    vars(model).update(state)
    return model


def copied(model: D) -> D:
    """For ``__copy__``: another object on the same model and the same open program."""
    twin = type(model).__new__(type(model))
    vars(twin).update(vars(model))
    twin._lock = threading.RLock()
    return twin


def deep_copied(model: D, memo: dict[int, Any]) -> D:
    """For ``__deepcopy__``: an object with a session of its own, and with its own module where one is held."""
    loaded = model._loaded
    if loaded is not None:
        loaded = loaded.again()
    state = {name: value for name, value in vars(model).items() if name not in _NOT_KEPT}
    held = [state[name] for name in model._without_code() if name in state]
    memo |= {id(value): value for value in held}  # a caller's function is not to be copied
    return _with_state(type(model), _own(model._origin, memo), loaded, copy.deepcopy(state, memo))


def _own(origin: Origin | None, memo: dict[int, Any]) -> Origin | None:
    if origin is None:
        return None
    twin = copy.copy(origin)
    if isinstance(twin, Checkpoint):
        twin._lock = threading.Lock()
    held = isinstance(origin, LoadedModule) or origin.handed_out
    twin._module = copy.deepcopy(origin.module(), memo) if held else None
    return twin


def _not_here(what: str, path: Path) -> LoadError:
    return LoadError(
        f"The {what} that a pickled object stands for is not here.",
        got=str(path),
        allowed="the same path in the process that reads the pickle: a pickle holds no weights",
        do="save_pretrained to a folder that both can read, and pickle the model that from_pretrained opens there",
    )
