"""What ``compile`` is asked for: parsed once, filled in, and part of the key as it stands."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from QEfficient import arguments
from QEfficient.backends import registry
from QEfficient.backends.base import Backend
from QEfficient.build import ingredients
from QEfficient.build.buckets import buckets_of, named_lengths
from QEfficient.build.ingredients import content
from QEfficient.build.keywords import CORES, compute_of, served, unless_left_out, verify_limits, verify_mode
from QEfficient.errors import OptionError
from QEfficient.records import CompileOptions, Json, OnnxModel, Shape, Target, TextFacts

if TYPE_CHECKING:
    from QEfficient.build.subject import ModelSubject

AUTO = "auto"
PRECISION_FILE = "node_precision_info"
BUCKETS = 5
MAX_QUIET_BUCKETS = 14  # the vendor's library warns from 15 on (contract §2.1)


@dataclass(frozen=True, slots=True)
class CompileRequest:
    """What to compile for. What a caller leaves out is ``None`` until something fills it in.

    Each field is part of the key but for those of :data:`NOT_IN_KEY`.

    Attributes:
        backend: Compiles.
        reason: Why it was taken, for ``device_report()``.
        compute: Precision of the arithmetic.
        devices: Devices that one program spans.
        text: What the program's text side is.
        texts: Texts of the caller's to verify the program on, besides the built-in ones.
        limits: The limits of the caller's that the program must hold.
        cores: AI cores of an instance.
        batch: Rows of a bucket; where each has its own, of the longest.
        lengths: Lengths of the buckets.
        keywords: Compiler options by name, not looked at yet.
        objective: What to fill in cores, batch and some options for.
        most_buckets: How many buckets to find for the texts.
        precision_file: True where the doctor is to write a node-precision file.
        onnx_path: A graph of the caller's to compile in place of the model's export.
        buckets: Lengths and rows, where the caller names rows for each length; else filled in.
        options: Filled in: the options, checked.
        graph: Filled in: the caller's graph in the cache.
    """

    backend: Backend
    reason: str
    compute: str
    devices: int
    text: TextFacts
    texts: tuple[str, ...] = ()
    limits: Mapping[str, Json] | None = None
    cores: int | None = None
    batch: int | None = None
    lengths: tuple[int, ...] | None = None
    keywords: Mapping[str, Json] = field(default_factory=dict)
    objective: str | None = None
    most_buckets: int | None = None
    precision_file: bool | None = None
    onnx_path: Path | None = None
    buckets: tuple[Shape, ...] = ()
    options: CompileOptions = CompileOptions()
    graph: OnnxModel | None = None

    @property
    def target(self) -> Target:
        """What the program is compiled for, as a manifest has it."""
        return Target(self.backend.name, self.compute, self.cores or CORES, self.devices)

    def ingredients(self) -> dict[str, Json]:
        """The key's ingredients that the model's own do not hold."""
        found: dict[str, Json] = content(self, NOT_IN_KEY)
        return found

    @property
    def chosen(self) -> tuple[Backend, str]:
        """The backend, and why it was taken."""
        return self.backend, self.reason


NOT_IN_KEY: Mapping[tuple[type, str], str] = {
    (CompileRequest, "reason"): "it tells of the choice, and changes nothing that is made",
    **ingredients.NOT_IN_KEY,
}
"""Fields of a request, and of what it holds, that are not part of the key, and why."""


def parse(given: Mapping[str, Any], options: Mapping[str, Any], text: TextFacts) -> CompileRequest:
    """The arguments of ``compile`` as a request, before anything is filled in.

    Args:
        given: By their names in its signature.
        options: Its further keywords.
        text: The model's text side.

    Raises:
        OptionError: A value that is none of its keyword's, or keywords that do not go together.
        BackendUnavailableError: The backend that is asked for can't be had here.
    """
    options = served(options)
    texts = arguments.optional_strings("texts", given["texts"])
    most = most_buckets(given["seq_len"], texts, given["buckets"])
    buckets = _of_each_length(None if most else given["seq_len"], given["batch_size"])
    lengths = tuple(bucket.length for bucket in buckets) or None
    if lengths is None and most is None and given["seq_len"] is not None:
        lengths = tuple(named_lengths(given["seq_len"]))
    verify_mode(given["verify"], None if most else texts, given["limits"])
    backend, reason = registry.choose(given["backend"], given["compute"])
    makes_file = options.get(PRECISION_FILE) is True
    if makes_file or options.get(PRECISION_FILE) in (None, False):  # a diagnosis that needs no file has the path None
        options.pop(PRECISION_FILE, None)
    for name, keyword in (("mxfp6_matmul", "mxfp6_matmul"), ("use_onnx_subfunctions", "sub_functions")):
        options |= {keyword: True} if given[name] else {}
    if given["onnx_path"] is not None:
        arguments.path_like("onnx_path", given["onnx_path"], "the path of a .onnx file; lengths are seq_len=")
    return CompileRequest(
        backend,
        reason,
        compute_of(backend, given["compute"]),
        arguments.positive("num_devices", given["num_devices"], "devices"),
        text,
        texts,
        verify_limits(given["limits"]),
        cores=unless_left_out("num_cores", given["num_cores"], "cores"),
        batch=buckets[-1].batch if buckets else unless_left_out("batch_size", given["batch_size"], "rows"),
        lengths=lengths,
        keywords=options,
        objective=given["objective"],
        most_buckets=most,
        precision_file=makes_file or None,
        onnx_path=None if given["onnx_path"] is None else Path(given["onnx_path"]),
        buckets=buckets,
    )


def with_defaults(request: CompileRequest, subject: ModelSubject) -> CompileRequest:
    """The request with its buckets and options, of which the caller's and what was filled in go before the defaults.

    Warns:
        UserWarning: More buckets than are usual.

    Raises:
        OptionError: Lengths that the model does not take, or options that the backend does not.
    """
    found = buckets_of(request.lengths, request.batch or 1, subject.recipe.reach, request.text)  # checks the lengths
    found = request.buckets or found
    if len(found) > MAX_QUIET_BUCKETS:
        warnings.warn(
            f"{len(found)} buckets in one program: compiling and loading on the card grow with each; "
            f"{MAX_QUIET_BUCKETS} or fewer are usual.",
            stacklevel=4,
        )
    options = request.backend.parse_options(request.keywords)
    done = dataclasses.replace(
        request,
        cores=request.cores or CORES,
        batch=None,
        lengths=None,
        keywords={},
        buckets=found,
        options=options,
    )
    done.backend.check(done.target, options)
    return done


def _of_each_length(seq_len: object, rows: object) -> tuple[Shape, ...]:
    """The buckets of a ``batch_size`` with a number for each length; none where it has one for all."""
    if arguments.whole(rows) is not None or isinstance(rows, str) or not isinstance(rows, Iterable):
        return ()
    many = arguments.positives("batch_size", rows, "rows")
    named = [] if seq_len is None else arguments.positives("seq_len", seq_len, "tokens")
    if not len(many) == len(named) == len(set(named)) > 0:
        raise OptionError(
            "batch_size has several numbers, but not one for each length.",
            got=f"{len(many)} numbers of rows for {len(set(named))} lengths",
            allowed="one number, or as many as seq_len names lengths, each of them once",
            do="pass one number, or name a length for each",
        )
    return tuple(sorted(map(Shape, named, many)))


def most_buckets(seq_len: object, texts: tuple[str, ...], buckets: object) -> int | None:
    """How many buckets ``compile`` is to find itself; ``None``: it is not to find them."""
    wanted = isinstance(seq_len, str) and seq_len == AUTO
    if wanted and not texts:
        raise OptionError(
            'seq_len="auto" finds buckets for texts, and there are none.',
            got="no texts",
            allowed="texts like those that will come: some hundreds show their lengths well",
            do="pass texts=[…], or name the lengths",
        )
    if buckets is not None and not wanted:
        raise OptionError(
            "A number of buckets is given, but not that they are to be found.",
            got=f"buckets={buckets!r}, seq_len={seq_len!r}",
            allowed='buckets with seq_len="auto"',
            do='pass seq_len="auto" and texts=[…], or drop buckets',
        )
    if not wanted:
        return None
    return BUCKETS if buckets is None else arguments.positive("buckets", buckets, "buckets")
