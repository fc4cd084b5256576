"""The few records that travel between the rooms. All are frozen; none holds a loaded graph or a tensor."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import total_ordering
from pathlib import Path
from typing import TYPE_CHECKING, Any

from QEfficient.errors import UsageError, unknown

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BATCH_DIM, LENGTH_DIM = "batch_size", "seq_len"
"""The two dims that every part of the library knows. Any other name is between a graph and whoever runs it."""

MODEL = "model"
"""Name of the graph of a program that has only one."""

CONFIG_KEY = "qefficient"  # our entry of a model's config.json: transformers keeps what it does not know
Json = Any  # a value that json.dumps takes; checked where it enters, in cache.canonical_json


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output of a graph.

    Attributes:
        name: Its name in the graph.
        dtype: Its numpy dtype's name, ``"int64"`` or ``"float32"``.
        shape: One entry a dim; a string is a free dim, such as ``"batch_size"``.
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...]

    def at(self, shape: Shape) -> tuple[int, ...]:
        """The shape with every free dim replaced by its size in ``shape``."""
        sizes = shape.sizes
        return tuple(d if isinstance(d, int) else sizes[d] for d in self.shape)

    @property
    def harmless(self) -> int:
        """A number that every model takes: 0 for types, boxes and the like, whose table may have one row; else 1."""
        return 0 if self.dtype.startswith("int") and self.name != "input_ids" and not self.name.endswith("mask") else 1


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
class Target:
    """What a program is compiled for.

    Attributes:
        backend: Name in the registry: ``"onnxruntime"``, ``"qaic"``.
        compute: Precision of the arithmetic: ``"fp32"`` on the host, ``"fp16"`` on the card.
        cores: AI cores (NSP) an instance uses; the host ignores it.
        devices: Devices (SoCs) that one program spans; 1 on the host.
    """

    backend: str
    compute: str = "fp32"
    cores: int = 16
    devices: int = 1


@dataclass(frozen=True, slots=True)
class Tuning:
    """How a host program is run on one machine: measured by ``warmup``, a guess before that.

    Attributes:
        streams: Batches that run at once.
        threads: CPUs of one stream.
        batch_tokens: Positions (rows times longest row) of one batch of several rows.
    """

    streams: int
    threads: int
    batch_tokens: int


@dataclass(frozen=True, slots=True)
class CompileOptions:
    """Compiler options that were checked against the table of documented flags.

    Attributes:
        flags: Option name with underscores → value, in the caller's order.
        files: Those options whose value is a file: name → path. Their *content* is part of the cache key.
        raw: Flags that the caller forces, passed on as they are.
    """

    flags: Mapping[str, Json] = field(default_factory=dict)
    files: Mapping[str, Path] = field(default_factory=dict)
    raw: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class OnnxModel:
    """An ONNX graph on disk; never a loaded one.

    Attributes:
        path: The ``.onnx`` file. Its external data stands beside it.
        inputs, outputs: In graph order.
        digest: SHA-256 over the graph file and all its external data.
        functions: True when repeated layers are ONNX functions.
        files: Relative path with ``/`` → SHA-256, of the graph's files whose digests are known: whoever seals a folder
            with them need not read them again.
    """

    path: Path
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    digest: str
    functions: bool = False
    files: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class TextFacts:
    """What turns strings into a model's inputs without the transformers package.

    Attributes:
        tokenizer: File name of the ``tokenizer.json`` in the folder; ``None`` when there is no fast form.
        max_length: The model's own limit in tokens, special tokens included.
        pad_id: Token id that fills a row.
        pad_type_id: Token type id that fills a row.
        padding_side: ``"right"`` or ``"left"``; matters to positions only.
        lower_case: Lower-case strings before tokenising (``do_lower_case`` of a sentence-transformers repo).
        prompts: Prompt name → text put before a string.
        default_prompt: Name of the prompt used when the caller names none.
        route: Of a sentence-transformers Router, the route that this program holds; else ``None``.
        tasks: Of a Router: what a vector is for (``"query"``; ``""`` is nothing in particular) → the route for it.
        similarity: ``"cosine"``, ``"dot"``, ``"euclidean"`` or ``"manhattan"``.
        truncate_dim: Default number of leading dims to keep, or ``None``.
        activation: Dotted name of the class that makes scores of a reranker's logits; ``None``: nothing is saved.
        chat: True when sentence-transformers writes a reranker's pairs through the tokenizer's chat template.
    """

    tokenizer: str | None
    max_length: int
    pad_id: int = 0
    pad_type_id: int = 0
    padding_side: str = "right"
    lower_case: bool = False
    prompts: Mapping[str, str] = field(default_factory=dict)
    default_prompt: str | None = None
    route: str | None = None
    tasks: Mapping[str, str] = field(default_factory=dict)
    similarity: str = "cosine"
    truncate_dim: int | None = None
    activation: str | None = None
    chat: bool = False


@dataclass(frozen=True, slots=True)
class TokenInput:
    """An input of whole numbers, some for each token, beside ids, mask and types: boxes on a page, paths in a document.

    Attributes:
        name: Its name in the graph and in HuggingFace's forward.
        sizes: Its dims behind rows and tokens: ``(4,)`` for boxes; none where a token has one number.
        default: What HuggingFace takes for each number where the input is left out. It also fills a row up.
        below: Sizes of the tables that the numbers are looked up in, where the graph does not tell them (as
            ``Manifest.tables``): one for all, or one a number of the last dim.
        boxes: Whether it holds left, top, right and bottom of a box on a page.
        ordered: Of boxes: whether width and height are looked up as they are, so that none may end before it begins.
    """

    name: str
    sizes: tuple[int, ...] = ()
    default: int = 0
    below: tuple[int, ...] = ()
    boxes: bool = False
    ordered: bool = False

    @property
    def spec(self) -> TensorSpec:
        """The graph's input."""
        return TensorSpec(self.name, "int64", ("batch_size", "seq_len", *self.sizes))


@dataclass(frozen=True, slots=True)
class RowRules:
    """What a row of a program may look like, and what stands for what a caller leaves out.

    Attributes:
        pads: False when a row's numbers depend on the padding beside it: then it runs with rows of its length only.
        frames: Where the output has frames in place of samples: kernel and stride of each convolution on the way.
        zero_types: Whether token types of 0 are what the model takes for none, where the graph has no such input.
        more: Inputs of the graph that stand beside ids, mask and types.
        left_out: What HuggingFace's model takes and the graph does not → why, or ``""``.
    """

    pads: bool = True
    frames: tuple[tuple[int, int], ...] = ()
    zero_types: bool = True
    more: tuple[TokenInput, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)

    @property
    def defaults(self) -> dict[str, int]:
        """Name → the number that stands for each of an input's that is left out."""
        return {one.name: one.default for one in self.more}

    def fill(self, text: TextFacts | None) -> dict[str, int]:
        """Name → the number that fills a row up to its batch's length; 0 where there is none."""
        ids = {} if text is None else {"input_ids": text.pad_id, "token_type_ids": text.pad_type_id}
        return ids | self.defaults


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
        joined: The file that onnxruntime runs in its place; ``None``: that one itself.
        binary: Folder of its QPC, ``None`` on the host.
    """

    shapes: tuple[Shape, ...]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    onnx: str
    joined: str | None = None
    binary: str | None = None


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
        """The graph file that onnxruntime runs."""
        return self.path / (self.manifest.graph.joined or self.manifest.graph.onnx)

    @property
    def binary_path(self) -> Path | None:
        """The folder that holds ``programqpc.bin``; ``None`` for a host program."""
        binary = self.manifest.graph.binary
        return None if binary is None else self.path / binary


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of unequal length, on their way to a session.

    Attributes:
        columns: Input name → one array a row, without the batch dim. A row of ids or samples has the row's own
            length: everything up to and with its last real token.
        width: Columns that the result has where it is one vector a token: the width of the caller's array, or the
            longest row of a text.
        lengths: Length of each row in tokens, or samples; 1 for an image.
        kept: Output name → its rows, where they are fewer than all: with more images than texts, say.
    """

    columns: Mapping[str, Sequence[NDArray[np.generic]]]
    width: int
    lengths: tuple[int, ...]
    kept: Mapping[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.lengths)


def __getattr__(name: str) -> type[Shape]:
    """The name under which :class:`Shape` was known, for one release."""
    if name != "Bucket":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    warnings.warn(
        "QEfficient.records.Bucket is now Shape; the old name goes with the next release (docs: Move to this version).",
        DeprecationWarning,
        stacklevel=2,
    )
    return Shape
