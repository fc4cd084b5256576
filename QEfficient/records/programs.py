"""A program's folder, and what its manifest says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from QEfficient.errors import UsageError, unknown
from QEfficient.records.options import CompileOptions, Target
from QEfficient.records.rows import RowRules, TextFacts
from QEfficient.records.tensors import Json, Shape, TensorSpec

MODEL = "model"
"""Name of the graph of a program that has only one."""

CONFIG_KEY = "qefficient"  # our entry of a model's config.json: transformers keeps what it does not know


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """Where a program comes from.

    Attributes:
        name: Repo id or folder name, as the user gave it.
        model_class: Class name of the wrapped HuggingFace model, ``"BertModel"``.
        model_type: HuggingFace's ``model_type``, ``"bert"``.
        task: ``"feature-extraction"``, … as HuggingFace names it.
        head: The steps behind the encoder, one JSON object each (``{"step": "pooling", "modes": ["mean"]}``).
        dim: Width of the output's last dim.
        config: File name of the model's ``config.json`` in the folder.
    """

    name: str
    model_class: str
    model_type: str
    task: str
    head: tuple[Mapping[str, Json], ...] = ()
    dim: int | None = None
    config: str | None = None


@dataclass(frozen=True, slots=True)
class FileFacts:
    """Size in bytes and SHA-256 of one file of a folder."""

    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class GraphFacts:
    """One graph of a program. Its files are named as they stand in the program's folder, with ``/``.

    Attributes:
        shapes: What it was compiled for; they ascend.
        inputs, outputs: In graph order.
        onnx: Its file.
        joined: The file that the host's runtime runs in its place; ``None``: that one itself.
        binary: Folder of its QPC, ``None`` on the host.
        in_place: State inputs that onnxruntime may overwrite while it runs: see ``onnx_transforms.in_place``.
    """

    shapes: tuple[Shape, ...]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    onnx: str
    joined: str | None = None
    binary: str | None = None
    in_place: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DecoderFacts:
    """What a program that writes text is compiled for.

    Attributes:
        ctx_len: Positions of a slot's caches. A sequence, prompt and answer together, has at most :attr:`room`.
        cache_slots: Sequences that the caches hold (``kv_cache_batch_size``), without the graph's scratch slot.
        decode_rows: Most sequences of one decode (``full_batch_size``); the very number where shapes are fixed.
        prefill_len: Tokens of a prompt's chunk: the very number where shapes are fixed, the most elsewhere.
        continuous: True where the graph is addressed by slots (``batch_index``); False: row n has slot n.
        kept_logits: Last positions of a row that logits may be asked for: 1, or one more than speculative tokens.
        rewinds: False where a layer keeps a window of the last positions only: a slot then goes on at its end alone.
    """

    ctx_len: int
    cache_slots: int
    decode_rows: int
    prefill_len: int
    continuous: bool = True
    kept_logits: int = 1
    rewinds: bool = True

    @property
    def room(self) -> int:
        """Positions that a sequence may take. Without slots a dropped write goes to the last one, so it stays free."""
        return self.ctx_len if self.continuous else self.ctx_len - 1


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
    def binary_path(self) -> Path | None:
        """The folder that holds ``programqpc.bin``; ``None`` for a host program."""
        binary = self.manifest.graph.binary
        return None if binary is None else self.path / binary
