"""What ``compile`` is asked for: parsed once, filled in, and part of the key as it stands.

What a decoder's request has in common with it stands below.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from QEfficient import arguments
from QEfficient.backends import registry
from QEfficient.backends.base import Backend
from QEfficient.backends.host import ROUNDED, WEIGHT_ONLY
from QEfficient.build.buckets import buckets_of, most_buckets, named_lengths, of_each_length
from QEfficient.cache import file_digest, to_json
from QEfficient.errors import NotYetSupportedError, OptionError
from QEfficient.records import CompileOptions, Json, OnnxModel, Shape, Target, TextFacts
from QEfficient.source.recipe import verify_mode

if TYPE_CHECKING:
    from QEfficient.build.subject import ModelSubject

PRECISION_FILE = "node_precision_info"
CORES = 16
MAX_QUIET_BUCKETS = 14  # the vendor's library warns from 15 on (contract §2.1)

NOT_IN_ANY_KEY: Mapping[tuple[type, str], str] = {
    (OnnxModel, "path"): "the digest stands for the file, wherever it is",
    (OnnxModel, "files"): "the digest of the graph covers them",
}
"""Fields of what any request holds that are not part of the key, and why."""

_SCALARS = (str, bool, int)


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


NOT_IN_KEY: Mapping[tuple[type, str], str] = {
    (CompileRequest, "reason"): "it tells of the choice, and changes nothing that is made",
    **NOT_IN_ANY_KEY,
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
    buckets = of_each_length(None if most else given["seq_len"], given["batch_size"])
    lengths = tuple(bucket.length for bucket in buckets) or None
    if lengths is None and most is None and given["seq_len"] is not None:
        lengths = tuple(named_lengths(given["seq_len"]))
    verify_mode(given["verify"], None if most else texts, given["limits"])
    _refuse_rounded(given["compute"])
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
        registry.compute_of(backend, given["compute"]),
        arguments.positive("num_devices", given["num_devices"], "devices"),
        text,
        texts,
        verify_limits(given["limits"]),
        cores=arguments.unless_left_out("num_cores", given["num_cores"], "cores"),
        batch=buckets[-1].batch if buckets else arguments.unless_left_out("batch_size", given["batch_size"], "rows"),
        lengths=lengths,
        keywords=options,
        objective=given["objective"],
        most_buckets=most,
        precision_file=makes_file or None,
        onnx_path=None if given["onnx_path"] is None else Path(given["onnx_path"]),
        buckets=buckets,
    )


def _refuse_rounded(compute: object) -> None:
    if compute in ROUNDED:
        raise OptionError(
            "Only models that write text have products in int8 with weights of few bits.",
            got=f"compute={compute!r}",
            allowed=f"int8, whose scales come from texts, or {', '.join(WEIGHT_ONLY)}",
            do='pass compute="int8"',
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


def content(value: Any, left_out: Mapping[tuple[type, str], str] = NOT_IN_ANY_KEY, where: str = "the request") -> Json:
    """A value as an ingredient: a file by its content, a backend by name and version, a record by its fields.

    Args:
        value: The value.
        left_out: Record and field → why it is not part of the key.
        where: What an error calls it.
    """
    if isinstance(value, Path):
        return file_digest(value)
    if isinstance(value, Backend):
        return {"name": value.name, "version": value.version()}
    if dataclasses.is_dataclass(value):
        names = [each.name for each in dataclasses.fields(value) if (type(value), each.name) not in left_out]
        value = {name: getattr(value, name) for name in names}
    if isinstance(value, Mapping):
        return {
            name: item if not item or isinstance(item, _SCALARS) else content(item, left_out, f"{where}.{name}")
            for name, item in value.items()
        }
    if isinstance(value, tuple | list):
        return [item if not item or isinstance(item, _SCALARS) else content(item, left_out, where) for item in value]
    return to_json(value, where=where)


def served(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options, numbers of any library as ints, without keywords of the vendor's that are not built and are off.

    Raises:
        NotYetSupportedError: Such a keyword is on.
    """
    for name in ("enable_qnn", "qnn_config"):
        if options.get(name):
            raise NotYetSupportedError(
                f"{name} is not supported yet.",
                got=f"{name} was set",
                allowed="the compiler of the Cloud AI SDK (leave it out)",
                do=f"drop {name}",
            )
    kept = {name: value for name, value in options.items() if name not in ("enable_qnn", "qnn_config")}
    whole = {name: arguments.whole(value) for name, value in kept.items()}
    return {name: value if whole[name] is None else whole[name] for name, value in kept.items()}


def verify_limits(value: object) -> dict[str, Json] | None:
    """The caller's limits as a mapping, checked."""
    if value is None:
        return None
    from QEfficient.numerics.verify import Limits, limits_for  # what verifies, which the start of a program needs not

    checked = limits_for("fp32", value)
    found: dict[str, Json] = dataclasses.asdict(checked)
    return found if isinstance(value, Limits) else {name: found[name] for name in value}  # type: ignore[attr-defined]
