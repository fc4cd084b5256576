"""A model or a saved program, for whoever looks at one: verification, doctor, analysis, prediction.

Both kinds answer the same questions, so that nobody has to ask which of the two is there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from QEfficient import hub
from QEfficient.build.graph_stage import export_stage
from QEfficient.build.tokenizer import model_tokenizer, program_tokenizer
from QEfficient.cache import Cache
from QEfficient.inference.loaded_program import LoadedProgram
from QEfficient.records import Json, OnnxModel, RowRules, Shape, TensorSpec, TextFacts
from QEfficient.source.recipe import Recipe
from QEfficient.tasks.catalogue import FEATURE_EXTRACTION, TASKS
from QEfficient.tasks.task import Task
from QEfficient.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from QEfficient.numerics.verify import Reference, Sample


@dataclass(frozen=True, slots=True)
class ModelSubject:
    """A model that can be exported, compiled or not.

    Attributes:
        recipe: What its graph is made of.
        text: Its text side.
        loaded: The program that was compiled of it, where there is one.
    """

    recipe: Recipe
    text: TextFacts
    loaded: LoadedProgram | None = None

    reference = "HuggingFace float32"

    @property
    def name(self) -> str:
        """As the caller named it."""
        return self.recipe.origin.name

    @property
    def task(self) -> Task:
        """What it is for."""
        return self.recipe.task

    @property
    def folder(self) -> Path | None:
        """Where the tokenizer's files stand."""
        return self.recipe.origin.folder

    @property
    def pools_end(self) -> bool:
        """Whether its graph may give the state of a row's end token."""
        return self.recipe.pools_end

    @property
    def reads_text(self) -> bool:
        """Whether its rows are token ids."""
        return self.recipe.architecture.inputs is None

    @property
    def bound(self) -> Shape | None:
        """The longest row that it may ever be given, where something else than the model bounds it."""
        return None

    def config(self) -> Mapping[str, Json]:
        """The model's config."""
        return self.recipe.origin.config()

    def tokenizer(self) -> Tokenizer | None:
        """A tokenizer that shortens nothing; ``None`` where there is none, or it has no fast form."""
        own = None if self.loaded is None else program_tokenizer(self.loaded.program)
        return own or model_tokenizer(self.recipe, self.text)

    def tokenizer_keywords(self) -> Mapping[str, Json]:
        """What counts in place of what the folder's ``tokenizer_config.json`` says."""
        return self.recipe.origin.tokenizer_keywords

    def rules(self, inputs: Sequence[TensorSpec]) -> RowRules:
        """What a row of a graph with these inputs may look like."""
        if self.loaded is not None:
            return self.loaded.program.manifest.rules
        return self.recipe.architecture.rules(self.config(), inputs)

    def graph(self) -> OnnxModel:
        """The program's graph; before ``compile`` the exported one, from the cache: a caller may change his copy."""
        return export_stage(self.recipe, Cache()) if self.loaded is None else graph_of(self.loaded)

    def longest(self) -> int:
        """Tokens of the longest bucket: the program's, or ``compile``'s default."""
        if self.loaded is not None:
            return self.loaded.program.manifest.shapes[-1].length
        return self.recipe.reach.longest(self.text)

    def references(self, model: OnnxModel, samples: Sequence[Sample]) -> Iterator[Reference]:
        """What HuggingFace gives for each sample."""
        from QEfficient.build.torch_reference import reference_run  # torch

        run = reference_run(self.recipe, float32=True)
        yield from ((sample, run(sample.inputs)) for sample in samples)
        self.recipe.origin.release()


@dataclass(frozen=True, slots=True)
class SavedSubject:
    """A saved program: of its model there is the graph, and what the manifest says.

    Attributes:
        loaded: The program.
        text: Its text side; ``None`` for that of a bare graph.
    """

    loaded: LoadedProgram
    text: TextFacts | None

    reference = "the program's own graph in fp32 on the host"

    @property
    def name(self) -> str:
        """As the caller of ``compile`` named the model, else the folder's name."""
        facts = self.loaded.program.manifest.model
        return self.loaded.program.path.name if facts is None else facts.name

    @property
    def task(self) -> Task:
        """What it is for; a bare graph gives vectors."""
        facts = self.loaded.program.manifest.model
        return FEATURE_EXTRACTION if facts is None else TASKS[facts.task]

    @property
    def folder(self) -> Path:
        """The program's own folder: it holds the tokenizer's files."""
        return self.loaded.program.path

    @property
    def pools_end(self) -> bool:
        """False: the manifest does not say."""
        return False

    @property
    def reads_text(self) -> bool:
        """Whether its rows are token ids."""
        return any(spec.name == "input_ids" for spec in self.loaded.program.manifest.inputs)

    @property
    def bound(self) -> Shape | None:
        """Its longest bucket."""
        return self.loaded.program.manifest.shapes[-1]

    def config(self) -> Mapping[str, Json]:
        """The model's config, empty where it is not kept."""
        facts = self.loaded.program.manifest.model
        return {} if facts is None or facts.config is None else hub.read_object(self.folder / facts.config)

    def tokenizer(self) -> Tokenizer | None:
        """As :meth:`ModelSubject.tokenizer`."""
        return program_tokenizer(self.loaded.program)

    def tokenizer_keywords(self) -> Mapping[str, Json]:
        """None: the program's files say all."""
        return {}

    def rules(self, inputs: Sequence[TensorSpec]) -> RowRules:
        """As the manifest has them."""
        return self.loaded.program.manifest.rules

    def graph(self) -> OnnxModel:
        """The program's graph."""
        return graph_of(self.loaded)

    def longest(self) -> int:
        """Tokens of its longest bucket."""
        return self.loaded.program.manifest.shapes[-1].length

    def references(self, model: OnnxModel, samples: Sequence[Sample]) -> Iterator[Reference]:
        """What the program's own graph gives for each sample, in fp32 on the host, with nothing joined."""
        from QEfficient.numerics.host import host_session
        from QEfficient.numerics.samples import bucket_of

        with host_session(model, bucket_of(model.inputs, samples), plain=True) as session:
            yield from ((sample, session.run(sample.inputs)) for sample in samples)


Subject = ModelSubject | SavedSubject


def graph_of(loaded: LoadedProgram) -> OnnxModel:
    """The graph that a program was compiled from, with its digest."""
    from QEfficient.onnx_transforms import describe  # onnx

    return describe(loaded.program.onnx_path)
