"""What a caller asked for, checked and brought to one form, before any stage works on it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from QEfficient import arguments
from QEfficient.backends.base import Backend
from QEfficient.cache import canonical_json, file_digest
from QEfficient.errors import InputError, NotYetSupportedError, OptionError, nearest
from QEfficient.numerics.verify import Limits, limits_for
from QEfficient.records import Bucket, CompileOptions, Json, Target, TextFacts
from QEfficient.source.recipe import Reach, default_lengths

MAX_QUIET_BUCKETS = 14  # the vendor's library warns from 15 on (contract §2.1)


@dataclass(frozen=True, slots=True)
class CompileRequest:
    """What ``compile`` was asked for, checked and in one piece.

    Attributes:
        backend, target, buckets, options: What to compile for.
        text: What the program's text side is.
        texts: Texts of the caller's to verify the program on, besides the built-in ones.
        limits: The limits of the caller's that the program must hold.
    """

    backend: Backend
    target: Target
    buckets: tuple[Bucket, ...]
    options: CompileOptions
    text: TextFacts
    texts: tuple[str, ...] = ()
    limits: Mapping[str, Json] | None = None

    def ingredients(self) -> dict[str, Json]:
        """The key's ingredients that the graph's own do not hold."""
        checks: dict[str, Json] = {"texts": list(self.texts)} if self.texts else {}
        checks |= {} if self.limits is None else {"limits": dict(self.limits)}
        return checks | {
            "target": dataclasses.asdict(self.target),
            "buckets": [bucket.sizes for bucket in self.buckets],
            "options": dict(self.options.flags),
            "option_files": {name: file_digest(path) for name, path in self.options.files.items()},
            "raw_flags": list(self.options.raw),
            "backend_version": self.backend.version(),
            "text": json.loads(canonical_json(dataclasses.asdict(self.text))),
        }


def asked_lengths(seq_len: object) -> list[int] | str | None:
    """The lengths that a caller names, ascending, each once; ``None`` and words such as ``"auto"`` stay as they are.

    Raises:
        OptionError: Not positive ints, or none at all.
    """
    return seq_len if seq_len is None or isinstance(seq_len, str) else named_lengths(seq_len)


def named_lengths(seq_len: object) -> list[int]:
    """As :func:`asked_lengths`, where lengths have to be named: a word is none.

    Raises:
        OptionError: As there.
    """
    result = sorted(set(arguments.positives("seq_len", seq_len, "tokens")))
    if not result:
        raise OptionError(
            "seq_len is an empty list: no bucket would be left to run in.",
            got="seq_len=[]",
            allowed="an int, a list of ints, or leave it out for buckets up to the model's limit",
            do="leave seq_len out, or name at least one length",
        )
    return result


def lengths(seq_len: object, reach: Reach, default: int) -> list[int]:
    """The bucket lengths that ``seq_len`` asks for, ascending, each once.

    Args:
        seq_len: An int, a list of ints, or ``None``.
        reach: Which lengths the model takes.
        default: The last bucket when ``seq_len`` is left out.

    Raises:
        OptionError: Not positive ints, none at all, or outside of what the model takes.
    """
    if seq_len is None:
        return default_lengths(default, reach.first)
    result = named_lengths(seq_len)
    if reach.limit is not None and result[-1] > reach.limit:
        raise OptionError(
            "seq_len is past the longest row that this model's graph serves.",
            got=f"seq_len={result[-1]}",
            allowed=f"{reach.shortest} to {reach.limit}",
            do=f"use seq_len={reach.limit} at most, or leave it out",
        )
    if result[0] < reach.shortest:
        raise OptionError(
            "seq_len is shorter than the model takes.",
            got=f"seq_len={result[0]}",
            allowed=f"{reach.shortest} or more",
            do="use a longer bucket, or leave seq_len out",
        )
    return result


def compile_request(
    backend: Backend,
    *,
    text: TextFacts,
    reach: Reach,
    seq_len: object,
    batch_size: object,
    num_devices: object,
    num_cores: object,
    compute: str | None,
    options: Mapping[str, Json],
    texts: Sequence[str] = (),
    limits: object = None,
    found: Sequence[Bucket] | None = None,
) -> CompileRequest:
    """The arguments of ``compile`` as one checked request; buckets that were ``found`` go before ``seq_len``."""
    batch = arguments.positive("batch_size", batch_size, "rows")
    buckets = _buckets(seq_len, batch, reach, text) if found is None else tuple(found)
    if len(buckets) > MAX_QUIET_BUCKETS:
        import warnings

        warnings.warn(
            f"{len(buckets)} buckets in one program: compiling and loading on the card grow with each; "
            f"{MAX_QUIET_BUCKETS} or fewer are usual.",
            stacklevel=3,
        )
    chosen = compute if compute is not None else backend.compute[0]
    if chosen not in backend.compute:
        raise OptionError(
            f"The backend {backend.name!r} does not compute in this precision.{nearest(str(chosen), backend.compute)}",
            got=f"compute={chosen!r}",
            allowed=", ".join(map(repr, backend.compute)),
            do="choose one of these, or leave compute out",
        )
    target = Target(
        backend=backend.name,
        compute=chosen,
        cores=arguments.positive("num_cores", num_cores, "cores"),
        devices=arguments.positive("num_devices", num_devices, "devices"),
    )
    checked = backend.parse_options(options)
    backend.check(target, checked)
    return CompileRequest(backend, target, buckets, checked, text, tuple(texts), verify_limits(limits))


def verify_limits(value: object) -> dict[str, Json] | None:
    """The caller's limits as a mapping, checked."""
    if value is None:
        return None
    checked = limits_for("fp32", value)
    found: dict[str, Json] = dataclasses.asdict(checked)
    return found if isinstance(value, Limits) else {name: found[name] for name in value}  # type: ignore[attr-defined]


def longest(seq_len: object, reach: Reach, text: TextFacts) -> int:
    """Length of the longest bucket that ``seq_len`` asks for; 1 where the inputs have one size."""
    return sizes(seq_len, reach, text)[-1] if reach.free else 1


def sizes(seq_len: object, reach: Reach, text: TextFacts) -> list[int]:
    """Lengths of the buckets that ``seq_len`` asks for; left out, up to what text and model take."""
    return lengths(seq_len, reach, min(text.max_length, reach.limit or reach.last))


def _buckets(seq_len: object, batch: int, reach: Reach, text: TextFacts) -> tuple[Bucket, ...]:
    if reach.free:
        return tuple(Bucket(length=size, batch=batch) for size in sizes(seq_len, reach, text))
    if seq_len is not None:
        raise OptionError(
            "The model's inputs have one size, so there is no length to choose.",
            got=f"seq_len={seq_len!r}",
            allowed="leave seq_len out",
            do="drop seq_len; batch_size bounds a batch where shapes are fixed",
        )
    return (Bucket(1, batch, length_dim=""),)


def refuse_later(keywords: dict[str, Any]) -> None:
    """Refuses keywords of the vendor's library that this version does not build; drops them when they are off."""
    for name in ("enable_qnn", "qnn_config"):
        if keywords.pop(name, None):
            raise NotYetSupportedError(
                f"{name} is not supported yet.",
                got=f"{name} was set",
                allowed="the compiler of the Cloud AI SDK (leave it out)",
                do=f"drop {name}",
            )


def sequence_limit(value: object, limit: int | None) -> int:
    """A checked ``max_seq_length``."""
    wanted = arguments.positive("max_seq_length", value, "tokens")
    if limit is not None and wanted > limit:
        raise InputError(
            "max_seq_length is past what the model can take.",
            got=f"max_seq_length={wanted}",
            allowed=f"1 to {limit}",
            do=f"set it to {limit} at most",
        )
    return wanted


def verify_mode(value: object, texts: object = None, limits: object = None) -> str:
    """A checked ``verify``; texts and limits go with ``"on"``."""
    if value not in ("on", "off"):
        raise OptionError(
            "Unknown verify mode.",
            got=f"verify={value!r}",
            allowed='"on" or "off"',
            do='leave it out; "off" skips the check of the exported numbers and is recorded',
        )
    if value == "off" and (texts or limits is not None):
        raise OptionError(
            'verify="off" runs no text and holds no limit.',
            got="texts=…" if texts else f"limits={limits!r}",
            allowed='texts and limits with verify="on"',
            do="leave verify out, or texts and limits",
        )
    return str(value)
