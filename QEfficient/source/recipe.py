"""What a graph is made of: all that decides what the exporter writes, and with it the key of the cache."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from QEfficient.architectures import Architecture, Reach, find
from QEfficient.cache import Watched, file_digest, library_versions
from QEfficient.errors import OptionError, PoolingError, unknown
from QEfficient.records import Json
from QEfficient.source.head import Head
from QEfficient.source.loaded_module import LoadedModule
from QEfficient.source.origin import Origin
from QEfficient.tasks.task import Task

OPSET = 18


@dataclass(frozen=True)
class Recipe:
    """All that decides what graph comes out. It is made anew for each call, and finds its ingredients once.

    Attributes:
        origin: The model.
        head: What follows the encoder.
        task: What the model is for, as it is for a model of this type: see :func:`recipe_of`.
        functions: Export repeated layers as ONNX functions.
        verify: ``"on"`` or ``"off"``: check the graph's numbers after export.
    """

    origin: Origin
    head: Head
    task: Task
    functions: bool = False
    verify: str = "on"

    @cached_property
    def architecture(self) -> Architecture:
        """The facts about the model's type."""
        return find(str(self.origin.config().get("model_type", "")))

    @cached_property
    def reach(self) -> Reach:
        """Which lengths the model takes; it raises where the type can't be right."""
        return self.architecture.reach(self.origin.config())

    @property
    def pools_end(self) -> bool:
        """Whether the graph may give the state of a row's end token."""
        return self.head.uses_pooler or self.task.projects

    @property
    def per_token(self) -> bool:
        """Whether the outputs have one entry a token, or frame."""
        return self.reach.free and self.task.per_token(self.head.steps)

    @property
    def frames(self) -> tuple[tuple[int, int], ...]:
        """As ``RowRules.frames``."""
        return self.architecture.frames(self.origin.config())

    def ingredients(self) -> dict[str, Json] | None:
        """The key's ingredients, in clear; ``None`` when only the exported graph can tell (DESIGN §10, Keys)."""
        return self._ingredients  # kept: the weights are read for it

    def refuse_changed(self) -> None:
        """Refuses what was made of files that are no longer those of the key.

        Raises:
            CacheError: One was changed since :meth:`ingredients` was first called.
        """
        self._watched.refuse_changed()
        self.origin.refuse_changed()

    @cached_property
    def _watched(self) -> Watched:
        return Watched.of((*self.origin.weight_files(), *self._head_files.values()))

    @property
    def _head_files(self) -> dict[str, Path]:
        names = [step["weights"] for step in self.head.steps if "weights" in step]
        return {name: self.origin.repo.folder / name for name in names} if self.origin.repo else {}

    @cached_property
    def _ingredients(self) -> dict[str, Json] | None:
        if self.head.function is not None:
            return None
        _ = self._watched  # from before the first of them is read
        identity = self.origin.identity()
        if identity is None:
            return None
        specs = self.architecture.inputs
        if specs is not None:
            sizes = {"inputs": [dataclasses.asdict(spec) for spec in specs(self.origin.facts())]}
        else:
            more = self.architecture.more(self.origin.config())
            sizes = {"inputs_beside": [dataclasses.asdict(one) for one in more]} if more else {}
        return sizes | {
            "model": identity,
            "head": [dict(step) for step in self.head.steps],
            "head_files": {name: file_digest(path) for name, path in self._head_files.items()},
            "task": self.task.name,
            "functions": self.functions,
            "verify": self.verify,
            "opset": OPSET,
            "versions": library_versions(),
        }


def recipe_of(origin: Origin, head: Head, task: Task, functions: bool = False, verify: str = "on") -> Recipe:
    """A recipe, for the task as it is for a model of this type.

    Args:
        origin: The model.
        head: What follows the encoder.
        task: As the Auto class names it.
        functions: As :class:`Recipe` has it.
        verify: Likewise.

    Raises:
        PoolingError: Something is to be pooled, and the model gives finished vectors.
    """
    recipe = Recipe(origin, head, task, functions, verify)
    own = recipe.architecture.outputs
    if isinstance(origin, LoadedModule) and not head.steps:  # AutoModel makes none with a projection
        own = recipe.architecture.projections.get(origin.class_name(), own)
    if own:
        recipe = dataclasses.replace(recipe, task=task.giving(own))
    if head.steps and not recipe.task.pools:
        raise PoolingError(
            f"Models of type {recipe.architecture.model_type!r} give finished vectors: nothing is left to pool.",
            got=f"{[dict(step) for step in head.steps]}",
            allowed=f"pooling=None, which gives {', '.join(own)}",
            do="drop pooling",
        )
    return recipe


def verify_mode(value: object, texts: object = None, limits: object = None) -> str:
    """A checked ``verify``; texts and limits go with ``"on"``."""
    if value not in ("on", "off"):
        do = 'leave it out; "off" skips the check of the exported numbers and is recorded'
        raise unknown(OptionError, "Unknown verify mode.", value, ("on", "off"), argument="verify", do=do)
    if value == "off" and (texts or limits is not None):
        raise OptionError(
            'verify="off" runs no text and holds no limit.',
            got="texts=…" if texts else f"limits={limits!r}",
            allowed='texts and limits with verify="on"',
            do="leave verify out, or texts and limits",
        )
    return str(value)
