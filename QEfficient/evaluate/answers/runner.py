"""A model or a saved program as functions of what it reads: its program runs, or HuggingFace's own model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from QEfficient.backends.base import Arrays
from QEfficient.build.subject import ModelSubject, SavedSubject, Subject
from QEfficient.errors import UsageError
from QEfficient.inference.arrays import reader
from QEfficient.inference.loaded_program import LoadedProgram
from QEfficient.inference.prompts import all_prompts, find_prompt
from QEfficient.inference.rerank import refuse_chat
from QEfficient.inference.similarity import similarity
from QEfficient.inference.texts import Reading, outputs
from QEfficient.records import RowRules, Rows, TensorSpec, TextFacts
from QEfficient.text.tokenizer import Text, Tokenizer

TORCH_ROWS = 32  # of a batch of the torch model, rows of like length
Floats = NDArray[np.float32]
Part = tuple[NDArray[np.intp], Floats, int]
"""Some of the rows, the first output of each, and how many of them were shortened."""


class TextModel(Protocol):
    """What texts are given to: a :class:`SubjectRunner`, or a model of sentence-transformers."""

    name: str
    ran: str
    task: str
    """What it was made for, as ``transformers.pipeline`` calls it."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of its labels; none for a model of vectors."""

    @property
    def gives_vectors(self) -> bool:
        """Whether a text gets a vector, and no scores."""

    def outputs(self, texts: Sequence[Text], prompt_name: str | None = None) -> Floats:
        """Vectors, or scores before any activation, ``(texts, dim)``."""


class VectorModel(TextModel, Protocol):
    """One that gives vectors."""

    def similarity(self, first: Floats, second: Floats, *, pairwise: bool) -> Floats:
        """Every pair ``(n, m)``, or rows at equal positions ``(n,)``."""


class TokenModel(TextModel, Protocol):
    """One that can be asked token by token: a :class:`SubjectRunner`, or a module that is being trained."""

    shortened: int
    """Texts so far that were longer than :attr:`limit`."""

    @property
    def limit(self) -> int:
        """Tokens after which a text is shortened."""

    def processor(self, kind: str) -> Any:
        """One of transformers' readers of this model's inputs."""

    def arrays(self, inputs: Mapping[str, Any]) -> Arrays:
        """Every output for what a processor made."""


@dataclass(frozen=True, slots=True)
class Graph:
    """What runs rows.

    Attributes:
        inputs: Their names and shapes.
        rules: What a row may look like.
        per_token: Whether a row has an output a token.
        read: What a processor of transformers made → rows.
        run: Rows → arrays.
        texts: Texts → the first output, in parts.
        ran: What it is, for people: ``"onnxruntime fp32"``.
    """

    inputs: Sequence[TensorSpec]
    rules: RowRules
    per_token: bool
    read: Callable[[Mapping[str, Any]], Rows]
    run: Callable[[Rows], Arrays]
    texts: Callable[[Reading, Sequence[Text]], Iterator[Part]]
    ran: str


def graph_of_program(loaded: LoadedProgram) -> Graph:
    """A compiled program, on the backend that it was compiled for or opened with."""
    manifest = loaded.program.manifest
    ran, texts = f"{loaded.backend.name} {manifest.target.compute}", partial(_streamed, loaded)
    return Graph(manifest.inputs, manifest.rules, loaded.per_token, loaded.rows, loaded.run, texts, ran)


def _streamed(loaded: LoadedProgram, reading: Reading, texts: Sequence[Text]) -> Iterator[Part]:
    for window, array in outputs(loaded, reading, texts, None, None):
        yield np.arange(window.first, window.first + window.count), array, len(window.overlong)


def graph_of_torch(subject: ModelSubject) -> Graph:
    """HuggingFace's own model, in the dtype of its weights."""
    from QEfficient.build.torch_graph import graph_rules, graph_specs
    from QEfficient.build.torch_reference import torch_run

    recipe = subject.recipe
    inputs = graph_specs(recipe)
    rules = graph_rules(recipe, inputs)
    run = torch_run(recipe, inputs, rules, subject.text)
    read = reader(inputs, rules=rules, max_length=recipe.reach.limit)
    dtype = str(next(recipe.origin.module().parameters()).dtype).removeprefix("torch.")
    ran = f"torch {dtype.replace('bfloat', 'bf').replace('float', 'fp')}"
    return Graph(inputs, rules, recipe.per_token, read, run, partial(_by_length, run), ran)


def _by_length(run: Callable[[Rows], Arrays], reading: Reading, texts: Sequence[Text]) -> Iterator[Part]:
    """Batches of texts of like length: torch pads a batch to its longest row."""
    sizes = [len(text) if isinstance(text, str) else sum(map(len, text)) for text in texts]
    order = np.argsort(sizes, kind="stable")
    for start in range(0, len(order), TORCH_ROWS):
        numbers = order[start : start + TORCH_ROWS]
        window = reading(0, [texts[number] for number in numbers])
        arrays: Mapping[str, NDArray[Any]] = run(window.rows)
        yield numbers, next(iter(arrays.values())), len(window.overlong)


class SubjectRunner:
    """What a model says of texts, pairs of texts, or what its processor made of images and clips.

    Args:
        subject: The model or saved program.
        torch: Run HuggingFace's own model, although there is a program.

    Raises:
        UsageError: The torch model of a saved program is asked for.
    """

    def __init__(self, subject: Subject, *, torch: bool) -> None:
        self.subject, self.name, self.task = subject, subject.name, subject.task.name
        if subject.loaded is not None and not torch:
            self.graph = graph_of_program(subject.loaded)
        elif isinstance(subject, SavedSubject):
            raise UsageError(
                "A saved program has no torch model.",
                got="runtime_ai100=False",
                allowed="runtime_ai100=True",
                do="load the original model by name with from_pretrained to evaluate it in torch",
            )
        else:
            self.graph = graph_of_torch(subject)
        self.ran = self.graph.ran
        self.shortened = 0
        """Texts so far that were longer than :attr:`limit`."""
        self._processors: dict[str, Any] = {}

    @property
    def facts(self) -> TextFacts:
        """Its text side.

        Raises:
            UsageError: A bare graph has none.
        """
        if self.subject.text is None:
            raise UsageError(
                "This program was compiled from a bare graph: it reads no texts.",
                got=self.name,
                allowed="a model that was compiled through from_pretrained",
                do="compile the model by its name",
            )
        return self.subject.text

    @property
    def limit(self) -> int:
        """Tokens after which a text is shortened, as ``encode`` and ``predict`` do; what fits no bucket is refused."""
        return self.facts.max_length

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of its labels, by position."""
        names: Any = self.subject.config().get("id2label")
        if names is None and self.subject.task.scores:  # transformers does not write down its default
            names = {"0": "LABEL_0", "1": "LABEL_1"}
        names = names or {}
        return tuple(str(names.get(str(i), names.get(i, f"LABEL_{i}"))) for i in range(len(names)))

    @property
    def gives_vectors(self) -> bool:
        """Whether a text gets a vector, and no scores."""
        return not self.subject.task.scores

    def outputs(self, texts: Sequence[Text], prompt_name: str | None = None) -> Floats:
        """Vectors of texts, or scores of texts or pairs before any activation, ``(texts, dim)``."""
        facts, tokenizer, graph = self.facts, self._tokenizer, self.graph
        if self.gives_vectors and graph.per_token:
            raise UsageError(
                "This model gives one vector a token, so a text has no single vector.",
                got="pooling=None",
                allowed="a model with pooling",
                do='load it with pooling="auto", or a named one',
            )
        if not self.gives_vectors:
            refuse_chat(facts)
        prompts = all_prompts(facts) if self.gives_vectors else facts.prompts
        prompt = find_prompt(prompts, facts.default_prompt, None, prompt_name)
        reading = Reading(tokenizer, graph.inputs, graph.rules, prompt=prompt, limit=self.limit, overlong="truncate")
        parts = list(graph.texts(reading, texts))
        self.shortened += sum(shortened for *_, shortened in parts)
        found = np.concatenate([array for _, array, _ in parts]).astype(np.float32, copy=False)
        result = np.empty_like(found)
        result[np.concatenate([numbers for numbers, *_ in parts])] = found
        return result[:, : facts.truncate_dim] if self.gives_vectors else result

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        tokenizer = self.subject.tokenizer()
        if tokenizer is None:
            raise UsageError(
                "This model has no tokenizer that reads texts.",
                got=self.name,
                allowed="a model that was loaded by name, from a repo whose tokenizer has a fast form",
                do="save the model with its tokenizer to a folder, and load it from there",
            )
        return tokenizer

    def similarity(self, first: Floats, second: Floats, *, pairwise: bool) -> Floats:
        """Of vectors, as the model's own repo says."""
        scores: Floats = similarity(self.facts.similarity, first, second, pairwise=pairwise)
        return scores

    def processor(self, kind: str) -> Any:
        """One of transformers' readers of this model's inputs, from its own files.

        Args:
            kind: ``"AutoTokenizer"``, ``"AutoProcessor"``, ``"AutoImageProcessor"`` or ``"AutoFeatureExtractor"``.

        Raises:
            UsageError: The model is in memory only.
        """
        if kind in self._processors:
            return self._processors[kind]
        if self.subject.folder is None:
            raise UsageError(
                "A model that is in memory only has no files that say how its inputs are read.",
                got=self.name,
                allowed="a model of from_pretrained, or a saved program",
                do="save the model with its tokenizer or processor to a folder, and load it from there",
            )
        import transformers

        keywords = self.subject.tokenizer_keywords()
        self._processors[kind] = getattr(transformers, kind).from_pretrained(str(self.subject.folder), **keywords)
        return self._processors[kind]

    def arrays(self, inputs: Mapping[str, Any]) -> Arrays:
        """Every output for what a processor made; what the graph does not take is left out."""
        names = {"attention_mask", *(spec.name for spec in self.graph.inputs)}
        return self.graph.run(self.graph.read({name: inputs[name] for name in inputs if name in names}))
