"""A model's road to a program, whatever it is for: how it is found, and what holds the program that it became."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, Self, TypeVar

from QEfficient import arguments, hub
from QEfficient import program as programs
from QEfficient.auto.evaluations import Evaluations
from QEfficient.backends.base import Backend
from QEfficient.build.saved import Opened, saved_program
from QEfficient.errors import UsageError
from QEfficient.records import Json, Program
from QEfficient.source.checkpoint import Checkpoint
from QEfficient.source.loaded_module import LoadedModule
from QEfficient.source.origin import Origin
from QEfficient.source.recipe import Recipe
from QEfficient.tasks.task import Task

if TYPE_CHECKING:
    from torch import nn

HUB_KEYWORDS = ("revision", "token", "cache_dir", "local_files_only", "force_download", "subfolder")


class Loaded(Protocol):
    """A program with whatever was opened for it."""

    program: Program
    backend: Backend
    reason: str
    strict: bool

    def again(self) -> Self:
        """The same program with a session of its own."""
        ...

    def handed_out(self) -> Any:
        """The open session, or one opened now, for somebody who may keep it longer than it stays open."""
        ...

    def report(self) -> dict[str, Json]:
        """Where the program runs, and why there."""
        ...

    def retire(self) -> None:
        """Closes it as soon as nobody uses it: another program takes its place."""
        ...

    def close(self) -> None:
        """Closes it once nobody uses it; the next call opens it again."""
        ...


L = TypeVar("L", bound=Loaded)


class Road(Generic[L]):
    """The state of an Auto object: where its model is from, and the program, once it has one."""

    _task: ClassVar[Task]
    _of_saved: ClassVar[str] = "generate, encode, save_pretrained, config, device_report"

    def _begin(self, origin: Origin | None, loaded: L | None = None) -> None:
        self._origin, self._loaded = origin, loaded
        self._onnx_path: Path | None = None  # what the caller was given
        self._config: Any = None
        self.model_card_data = Evaluations()
        self._lock = threading.RLock()

    def __init__(self, model: nn.Module) -> None:
        self._begin(LoadedModule(model))

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, *args: Any, **kwargs: Any) -> Self:
        """Resolves a model or a saved program by hub id or path. The weights are read when first needed.

        Args:
            pretrained_model_name_or_path: A hub id, a local folder, or the folder of a saved program.
            *args: As the ``from_pretrained`` of transformers' class for this task takes them.
            **kwargs: Likewise (``revision``, ``token``, ``cache_dir``, ``trust_remote_code``, ``dtype``,
                ``local_files_only``, …). A saved program takes ``backend`` (run its graph there), ``strict``
                (exactly the compiled shapes) and ``check`` (compare every file's digest; sizes always are) instead.

        Raises:
            LoadError: No such model, or it can't be read.
            UsageError: A saved program of another task.
        """
        name = pretrained_model_name_or_path
        arguments.path_like("pretrained_model_name_or_path", name, "a hub id or the path of a folder")
        where = {name: kwargs.pop(name) for name in HUB_KEYWORDS if name in kwargs}
        found = hub.resolve(name, hub.Where(**where), also=hub.language_files(kwargs.get("target_lang")))
        self = cls.__new__(cls)
        if hub.is_program(found.folder):
            self._begin(None, cls._open(saved_program(found, cls._task, kwargs)))
        else:
            self._begin(Checkpoint(found, cls._task.auto_class, args, kwargs, where))
        return self

    @staticmethod
    def _open(opened: Opened) -> L:
        """What this class runs a program with."""
        raise NotImplementedError

    def _recipe(self, functions: bool, verify: str) -> Recipe:
        """What the model's graph is made of."""
        raise NotImplementedError

    def _own_steps(self) -> tuple[Mapping[str, Json], ...]:
        """By what the object makes its program smaller, beyond what was done to the model itself."""
        return ()

    def _has_code(self) -> bool:
        """Whether the object holds code of the caller's, which no pickle can bring to another process."""
        return False

    def _without_code(self) -> dict[str, Any]:
        """Attribute → what stands for it in a pickle, of those that may hold code."""
        return {}

    def _need_origin(self, what: str) -> Origin:
        if self._origin is None:
            raise UsageError(
                f"{what} needs the torch model, and a saved program has none.",
                got=str(self._need_loaded().program.path),
                allowed=self._of_saved,
                do="load the original model by name with from_pretrained",
            )
        return self._origin

    def _need_loaded(self) -> L:
        if self._loaded is None:
            raise UsageError(
                "The model is not compiled yet.",
                got=self._origin.name if self._origin else type(self).__name__,
                allowed="a compiled model, or generate(…, runtime_ai100=False) for the torch model",
                do="call compile() first",
            )
        return self._loaded

    def _keep_program(self, program: Program, backend: Backend, reason: str, given: Mapping[str, Any]) -> L:
        """Runs this program from now on: its copy in ``compile_dir``, and ``strict``, where these are asked for.

        Args:
            program: In the cache.
            backend: Opens it.
            reason: Why this backend was chosen.
            given: The arguments of ``compile``.
        """
        strict, folder = given.get("strict", False), given.get("compile_dir")
        if folder is not None:
            program = programs.save(program, Path(folder) / program.path.name)
        old = self._loaded
        if old is not None and (old.program, old.strict) == (program, strict):
            return old  # its open session goes on
        loaded = self._open(Opened(program, backend, reason, strict))
        self._keep(loaded)
        return loaded

    def _keep(self, loaded: L | None) -> None:
        """Puts a program in the last one's place, which is closed once nobody uses it."""
        old, self._loaded = self._loaded, loaded
        if old is not None:
            old.retire()

    def _become(self, origin: Origin) -> None:
        """Has another model from now on; what was compiled is retired."""
        self._origin, self._config, self._onnx_path = origin, None, None
        self.model_card_data = Evaluations()  # those figures are of the weights before
        self._keep(None)
