"""What a program is compiled for, and with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from QEfficient.records.tensors import Json


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
