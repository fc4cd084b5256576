"""What a graph is made of, and what its model's files say of lengths and texts."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from QEfficient.architectures import Architecture, find
from QEfficient.architectures.record import is_word
from QEfficient.cache import Watched, file_digest, library_versions
from QEfficient.records import Json, TextFacts
from QEfficient.source.head import Head
from QEfficient.source.origin import ModuleOrigin, Origin
from QEfficient.tasks.task import Task
from QEfficient.text.facts import read_facts

OPSET = 18


@dataclass(frozen=True)
class Recipe:
    """All that decides what graph comes out. It is made anew for each call, and finds its ingredients once.

    Attributes:
        origin: The model.
        head: What follows the encoder.
        task: What the model is for.
        functions: Export repeated layers as ONNX functions.
        verify: ``"on"`` or ``"off"``: check the graph's numbers after export.
    """

    origin: Origin
    head: Head
    task: Task
    functions: bool = False
    verify: str = "on"

    @property
    def architecture(self) -> Architecture:
        """The facts about the model's type."""
        return find(str(self.origin.config().get("model_type", "")))

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the graph's outputs."""
        return self._finished or self.task.outputs

    @property
    def embeds(self) -> bool:
        """Whether the graph is an encoder with a pooling head; else it is HuggingFace's whole model."""
        return self.task.embeds and not self._finished

    @property
    def pools_end(self) -> bool:
        """Whether the graph may give the state of a row's end token."""
        return self.head.uses_pooler or bool(self._finished)

    @property
    def _finished(self) -> tuple[str, ...]:
        """Outputs that HuggingFace's model pools and projects itself."""
        if not self.task.embeds:
            return ()
        facts = self.architecture
        if isinstance(self.origin, ModuleOrigin) and not self.head.steps:  # AutoModel makes none with a projection
            return facts.projections.get(self.origin.class_name(), facts.outputs)
        return facts.outputs

    @property
    def per_token(self) -> bool:
        """Whether the outputs have one entry a token, or frame."""
        if not self.architecture.has_length(self.origin.config()):
            return False
        return not self.head.steps if self.embeds else self.task.per_token

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


@dataclass(frozen=True, slots=True)
class Reach:
    """Which lengths a model takes: tokens of a text, samples of a clip.

    Attributes:
        limit: The most, ``None`` where the architecture sets none.
        whole: The most that HuggingFace's own model takes; longer texts are shortened to it, as they are there.
        shortest: The least.
        first, last: First and last default bucket where nothing else says it.
        free: False when rows have no length of their own: images of one size.
    """

    limit: int | None
    whole: int | None
    shortest: int = 1
    first: int = 32
    last: int = 512
    free: bool = True


def reach(origin: Origin) -> Reach:
    """Which lengths a model takes, as its architecture says.

    Raises:
        NotYetSupportedError: The architecture can't be right.
    """
    config = origin.config()
    facts = find(str(config.get("model_type", "")))
    facts.check(config)
    first, last = facts.lengths
    limit, whole = facts.max_length(config), facts.whole_length(config)
    return Reach(limit, whole, facts.shortest(config), first, last, facts.has_length(config))


def text_facts(origin: Origin) -> TextFacts:
    """What the model's files say of its text side; for a module in memory only what its config says."""
    limit, config = reach(origin).whole, origin.config()
    if origin.folder is None:
        pad = find(str(config.get("model_type", ""))).pad_id(config) or 0
        return TextFacts(tokenizer=None, max_length=limit or reach(origin).last, pad_id=pad)
    facts = read_facts(origin.folder, repo=origin.repo, max_positions=limit)
    own = config.get("pad_token_id")  # what the model itself takes for padding goes before the tokenizer's
    fits = [token for token in (own, facts.pad_id) if isinstance(token, int) and is_word(config, token)]
    return dataclasses.replace(facts, pad_id=(fits or [0])[0])  # a table may lack the token that was added for it


def tokenizer_keywords(origin: Origin) -> dict[str, Json]:
    """What counts in place of what the model's ``tokenizer_config.json`` says."""
    return dict(origin.repo.tokenizer) if origin.repo else {}


def default_lengths(limit: int, first: int = 32) -> list[int]:
    """Bucket lengths that double from ``first`` and end with ``limit``."""
    lengths = [first]
    while lengths[-1] < limit:
        lengths.append(lengths[-1] * 2)
    return [length for length in lengths if length < limit] + [limit]
