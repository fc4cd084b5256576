"""One run of an encoder on a card, as a row of the table of measurements describes it, and that table."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files

from QEfficient.errors import UsageError, nearest

TABLE = "ai100_encoder_measurements.csv"
MEASURED = ("samples_per_second", "latency_ms")
TEXTS = ("model_type", "task")
NETWORK = ("layers", "hidden_size", "attention_heads", "intermediate_size", "vocab_size")
NUMBERS = (*NETWORK, "batch_size", "seq_len", "num_cores", "instances", "set_size")
LEFT_OPEN = ("ols", "mos")
COLUMNS = (*TEXTS, *NUMBERS, *LEFT_OPEN, "multicast_weights")
FURTHER = ("hidden_act", "gated", "layer_weights", "layer_inner")


@dataclass(frozen=True, slots=True)
class Run:
    """A network, a shape, and how it is compiled and queued.

    Attributes:
        model_type: As in the model's config.
        layers, hidden_size, attention_heads, intermediate_size, vocab_size: Of the network.
        task: What is returned: ``"default"``, ``"fill-mask"``, ``"question-answering"``, …
        batch_size: Samples of an inference.
        seq_len: Tokens of a sample.
        num_cores: AI cores of an instance.
        instances: Copies of the program that run side by side.
        set_size: Inferences in flight for each instance.
        ols, mos: The compiler's options; ``None`` leaves them to it.
        multicast_weights: The compiler's flag.
        hidden_act: The activation, as configs name it; ``None``: the usual one of the type.
        gated: Whether a third matrix gates it; ``None``: as usual for the type.
        layer_weights: Weights of a layer's matrices that a token meets; ``None``: as the widths say.
        layer_inner: Activations of a layer for a token; ``None``: ``intermediate_size``.
    """

    model_type: str
    layers: int
    hidden_size: int
    attention_heads: int
    intermediate_size: int
    vocab_size: int
    task: str
    batch_size: int
    seq_len: int
    num_cores: int
    instances: int
    set_size: int
    ols: int | None = None
    mos: int | None = None
    multicast_weights: bool = False
    hidden_act: str | None = None
    gated: bool | None = None
    layer_weights: int | None = None
    layer_inner: int | None = None

    @property
    def in_flight(self) -> int:
        """Samples that are under way at a time when every queue is full."""
        return self.instances * self.set_size * self.batch_size


@dataclass(frozen=True, slots=True)
class Measurement:
    """A run and what was measured: samples a second, and milliseconds of one inference (95th percentile)."""

    model: str
    objective: str
    run: Run
    samples_per_second: float
    latency_ms: float


def parse(row: Mapping[str, object]) -> Run:
    """A row of the table, its numbers as numbers or as text.

    Args:
        row: The columns in :data:`COLUMNS`; of others, only those in :data:`FURTHER` are read. These, ``ols`` and
            ``mos`` may be missing or empty. The activation of a network that was measured is known.

    Raises:
        UsageError: A column is missing or holds something else.
    """
    if not isinstance(row, Mapping):
        raise UsageError(
            "A row is a mapping from column to value.",
            got=type(row).__name__,
            allowed=", ".join(COLUMNS),
            do="pass a dict, such as csv.DictReader gives",
        )
    run = _read(row)
    return run if run.hidden_act else replace(run, hidden_act=_measured_activations().get(_network(run)))


def _read(row: Mapping[str, object]) -> Run:
    open_numbers = (*LEFT_OPEN, "layer_weights", "layer_inner")
    return Run(
        **{name: _text(row, name) for name in TEXTS},  # type: ignore[arg-type]
        **{name: _number(row, name) for name in NUMBERS},  # type: ignore[arg-type]
        **{name: _number(row, name) if _given(row, name) else None for name in open_numbers},  # type: ignore[arg-type]
        multicast_weights=_flag(row, "multicast_weights"),
        hidden_act=_text(row, "hidden_act") if _given(row, "hidden_act") else None,
        gated=_flag(row, "gated") if _given(row, "gated") else None,
    )


@cache
def measurements() -> tuple[Measurement, ...]:
    """The published measurements that ship with the package; ``data/README.md`` names their source."""
    text = files(__package__).joinpath("data", TABLE).read_text(encoding="utf-8")
    return tuple(
        Measurement(row["model"], row["objective"], _read(row), *(float(row[name]) for name in MEASURED))
        for row in csv.DictReader(text.splitlines())
    )


@cache
def _measured_activations() -> dict[tuple[object, ...], str | None]:
    """Of the networks in the table that have another activation than is usual for their type."""
    runs = [one.run for one in measurements()]
    return {_network(run): run.hidden_act for run in runs if run.hidden_act}


def _network(run: Run) -> tuple[object, ...]:
    return (run.model_type, *(getattr(run, name) for name in NETWORK))


def _value(row: Mapping[str, object], name: str) -> object:
    if name not in row:
        raise UsageError(
            f"The row has no column {name!r}.{nearest(name, [str(key) for key in row])}",
            got=f"columns {', '.join(map(str, row)) or 'none'}",
            allowed=", ".join(COLUMNS),
            do=f"add {name}",
        )
    return row[name]


def _given(row: Mapping[str, object], name: str) -> bool:
    return str(row.get(name) if row.get(name) is not None else "").strip() not in ("", "-1")


def _text(row: Mapping[str, object], name: str) -> str:
    value = _value(row, name)
    if not isinstance(value, str) or not value.strip():
        raise _unusable(name, value, "holds no name", "a string")
    return value.strip()


def _number(row: Mapping[str, object], name: str) -> int:
    value = _value(row, name)
    try:
        number = float(str(value))
    except ValueError:
        number = 0.0
    if isinstance(value, bool) or not 1 <= number < 1e9 or number != int(number):
        allowed = "a whole number from 1 on, as a number or as text" + ("; empty" if name in LEFT_OPEN else "")
        raise _unusable(name, value, "holds no whole number", allowed)
    return int(number)


def _flag(row: Mapping[str, object], name: str) -> bool:
    value = _value(row, name)
    known = {"": False, "0": False, "false": False, "none": False, "1": True, "true": True}
    text = str(value).strip().lower().removesuffix(".0")
    if text not in known:
        raise _unusable(name, value, "is not on or off", "0 or 1, True or False, as text too")
    return known[text]


def _unusable(name: str, value: object, why: str, allowed: str) -> UsageError:
    return UsageError(f"The column {name!r} {why}.", got=f"{name}={value!r}", allowed=allowed, do=f"correct {name}")
