"""A program's folder, its graphs with the shapes that they are compiled for, and what its manifest says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import total_ordering
from pathlib import Path

from QEfficient.errors import UsageError, unknown
from QEfficient.records.facts import DecoderFacts, FileFacts, ModelFacts
from QEfficient.records.options import CompileOptions, Target
from QEfficient.records.rows import RowRules, TextFacts
from QEfficient.records.tensors import BATCH_DIM, LENGTH_DIM, Json, TensorSpec

MODEL = "model"
"""Name of the graph of a program that has only one."""


@total_ordering
@dataclass(frozen=True, slots=True, init=False)
class Shape:
    """A size for every free dim of a graph's inputs, by name. They order by length, then batch, then the rest.

    >>> Shape(32, 4).sizes, Shape(batch=4).sizes
    ({'batch_size': 4, 'seq_len': 32}, {'batch_size': 4})
    >>> Shape(1, 4, {"ctx_len": 128})
    Shape(sizes={'batch_size': 4, 'seq_len': 1, 'ctx_len': 128})

    Attributes:
        sizes: Dim name → size: batch first, then length, as specialization files list them.
    """

    sizes: Mapping[str, int]

    def __init__(self, length: int | None = None, batch: int | None = None, sizes: Mapping[str, int] | None = None):
        """``length`` and ``batch`` go before what ``sizes`` says of these two. An image of one size has no length."""
        known = sizes or {}
        named = {BATCH_DIM: known.get(BATCH_DIM, 1) if batch is None else batch}
        if length is not None or LENGTH_DIM in known:
            named[LENGTH_DIM] = known[LENGTH_DIM] if length is None else length
        object.__setattr__(self, "sizes", named | {dim: known[dim] for dim in sorted(known) if dim not in named})

    @classmethod
    def largest(cls, shapes: Sequence[Shape]) -> Shape:
        """Each dim at the largest size that it has in any of ``shapes``."""
        sizes: dict[str, int] = {}
        for shape in shapes:
            sizes |= {dim: max(size, sizes.get(dim, size)) for dim, size in shape.sizes.items()}
        return cls(sizes=sizes)

    @property
    def batch(self) -> int:
        """Size of the batch dim, in rows."""
        return self.sizes[BATCH_DIM]

    @property
    def length(self) -> int:
        """Size of the length dim: tokens of a text, samples of a clip; 1 where there is no such dim."""
        return self.sizes.get(LENGTH_DIM, 1)

    def __str__(self) -> str:
        known = {BATCH_DIM: "batch", LENGTH_DIM: "length"}
        return ", ".join(f"{known.get(dim, dim)} {size}" for dim, size in self.sizes.items())

    def __hash__(self) -> int:
        return hash(tuple(self.sizes.items()))

    def __lt__(self, other: Shape) -> bool:
        return (self.length, self.batch, *self.sizes.items()) < (other.length, other.batch, *other.sizes.items())


@dataclass(frozen=True, slots=True)
class GraphFacts:
    """One graph of a program. Its files are named as they stand in the program's folder, with ``/``.

    Attributes:
        shapes: What it was compiled for; they ascend.
        inputs, outputs: In graph order.
        onnx: Its file.
        joined: The file that the host's runtime runs in its place; ``None``: that one itself.
        paged: Of a decoder for OpenVINO, the file whose caches are blocks (``onnx_transforms.paged``); ``None``: none.
        binary: Folder of its QPC, ``None`` on the host.
        in_place: State inputs that onnxruntime may overwrite while it runs: see ``onnx_transforms.in_place``.
    """

    shapes: tuple[Shape, ...]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    onnx: str
    joined: str | None = None
    paged: str | None = None
    binary: str | None = None
    in_place: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Manifest:
    """The parsed ``qefficient.json`` of a program folder.

    Attributes:
        target, options: As compiled.
        graphs: The graphs by name: ``"model"`` where there is one, else what each is for (``"encoder"``).
        sdk: The SDK's version for a card program, else ``None``.
        text, model: What the text and model rooms need; ``None`` for a bare graph.
        rules: What a row may look like.
        key: Every ingredient of the cache key, in clear.
        versions: Package → version at compile time.
        verify: Result of the numeric check, or how it was switched off.
        int8, weights: Of a program in int8, or with weights of few bits: how much of it is, what is left out, and why.
        decoder: Of a program that writes text, what it is compiled for.
        tables: Input name → rows of the table that its numbers are looked up in; only inputs with such a table.
        tokens: Ids that the program's tokenizer gives are below this; ``None`` without one.
        files: Relative path → size and digest, for every file but the manifest itself.
        created: UTC time, ISO 8601.
    """

    target: Target
    graphs: Mapping[str, GraphFacts]
    options: CompileOptions = field(default_factory=CompileOptions)
    sdk: str | None = None
    text: TextFacts | None = None
    model: ModelFacts | None = None
    rules: RowRules = RowRules()
    key: Mapping[str, Json] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    verify: Mapping[str, Json] = field(default_factory=dict)
    int8: Mapping[str, Json] = field(default_factory=dict)
    weights: Mapping[str, Json] = field(default_factory=dict)
    decoder: DecoderFacts | None = None
    tables: Mapping[str, int] = field(default_factory=dict)
    tokens: int | None = None
    files: Mapping[str, FileFacts] = field(default_factory=dict)
    created: str = ""

    @property
    def graph(self) -> GraphFacts:
        """The only graph.

        Raises:
            UsageError: There are several.
        """
        first, *more = self.graphs.items()
        if more:
            what, do = "The program has several graphs, and none was named.", f"name one: program.only({first[0]!r})"
            raise UsageError(what, got=", ".join(self.graphs), allowed="one of them", do=do)
        return first[1]

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """The inputs of the only graph."""
        return self.graph.inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """The outputs of the only graph."""
        return self.graph.outputs

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """What the only graph was compiled for; they ascend."""
        return self.graph.shapes


@dataclass(frozen=True, slots=True)
class Program:
    """A program folder: where it stands, and its parsed manifest. The paths are those of its only graph."""

    path: Path
    manifest: Manifest

    def only(self, name: str) -> Program:
        """The program as though it had this one of its graphs alone: so it is opened, one session a graph.

        Raises:
            UsageError: It has no such graph.
        """
        graphs = self.manifest.graphs
        if name not in graphs:
            raise unknown(UsageError, f"The program has no graph {name!r}.", name, graphs, do="correct the name")
        return replace(self, manifest=replace(self.manifest, graphs={name: graphs[name]}))

    @property
    def onnx_path(self) -> Path:
        """The graph file."""
        return self.path / self.manifest.graph.onnx

    @property
    def joined_path(self) -> Path:
        """The graph file that the host's runtime runs."""
        return self.path / (self.manifest.graph.joined or self.manifest.graph.onnx)

    @property
    def paged_path(self) -> Path | None:
        """The graph file whose caches are blocks; ``None``: there is none."""
        paged = self.manifest.graph.paged
        return None if paged is None else self.path / paged

    @property
    def binary_path(self) -> Path | None:
        """The folder that holds ``programqpc.bin``; ``None`` for a host program."""
        binary = self.manifest.graph.binary
        return None if binary is None else self.path / binary
