"""From a target and options to what the compiler reads: its argument vector and its small input files.

Everything here is a pure function; golden files in the tests hold the results.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from QEfficient.backends.card_options import MXINT8, TABLE, raw_file_name
from QEfficient.backends.qaic.sdk import Compiler
from QEfficient.errors import CompileError, OptionError
from QEfficient.records import NUM_LOGITS_TO_KEEP, SOURCE_DIM, CompileOptions, Json, Shape, Target, TensorSpec

MAX_DEVICES = 16  # SoCs that the vendor's partitioning spans over p2p
ENCODER, PREFILL, DECODE = "Encoder", "Prefill", "Decode"
SLOTS_DIM = "full_batch_size"


@dataclass(frozen=True, slots=True)
class CompilerFiles:
    """What the compiler reads and makes beside the files of options.

    Attributes:
        model: The ONNX file.
        outdir: The folder that it makes.
        specializations: The specialization file; ``None`` when the graph has no free dim.
        partition: The generated partition file for several devices, or ``None``.
        custom_io: The generated custom I/O file, which names the precision of retained state, or ``None``.
    """

    model: Path
    outdir: Path
    specializations: Path | None = None
    partition: Path | None = None
    custom_io: Path | None = None


def argv(
    compiler: Compiler,
    hw_version: str,
    paths: CompilerFiles,
    target: Target,
    options: CompileOptions,
    *,
    retained: bool = False,
) -> tuple[str, ...]:
    """The compiler's argument vector, in the order that the vendor's own library uses.

    Args:
        compiler: Which of the two compilers, and where.
        hw_version: ``"ai100"``, ``"ai200"`` or ``"2.0"``.
        paths: What it reads and makes.
        target: Precision and cores.
        options: ``files`` are the paths that the compiler reads, thus the copies in the program's folder.
        retained: Whether the graph has state, which is to stay on the device.
    """
    files = dict(options.files)
    user_partition = files.pop("mdp_load_partition_config", None)
    custom_io = files.pop("custom_IO_list_file", paths.custom_io)
    flags = dict(options.flags)
    sub_functions = flags.pop("sub_functions", False)
    retained = flags.pop("retained_state", False) or retained
    flags.pop(MXINT8, None)  # the custom I/O file is what became of it
    flags.pop("aic_hw_version", None)  # hw_version is what became of it
    return (
        str(compiler.path),
        "-aic-hw",
        f"-aic-hw-version={hw_version}",
        f"-m={paths.model}",
        *(["-retained-state"] if retained else []),
        *([f"-mdp-load-partition-config={user_partition}"] if user_partition else []),
        *(["-convert-to-fp16"] if target.compute == "fp16" else []),
        f"-aic-num-cores={target.cores}",
        *(flag for name, value in flags.items() for flag in render(name, value)),
        *(f"{TABLE[name].flag}={path}" for name, path in files.items() if name in TABLE),
        *_raw(options.raw, files),
        *(["-sub-functions"] if sub_functions else []),
        *([f"-mdp-load-partition-config={paths.partition}"] if paths.partition else []),
        *([f"-network-specialization-config={paths.specializations}"] if paths.specializations else []),
        *([f"-custom-IO-list-file={custom_io}"] if custom_io else []),
        *(["-compile-only"] if compiler.kind == "qaic-exec" else []),
        f"-aic-binary-dir={paths.outdir}",
    )


def hardware(compiler: Compiler, wanted: str | None, found: str) -> str:
    """The ``-aic-hw-version`` for the caller's wish, or what was ``found`` on this machine.

    Raises:
        OptionError: The wish is a generation that this compiler does not build for.
    """
    if wanted is None or compiler.kind == "qaic-compile":
        return wanted or found
    if wanted == "ai200":
        raise OptionError(
            "This SDK's compiler is older than the AI 200.",
            got=f"aic_hw_version={wanted!r} for {compiler.kind}",
            allowed="2.0 or ai100, which are the same",
            do="install an SDK that has qaic-compile, or leave aic_hw_version out",
        )
    return "2.0"  # qaic-exec's name of the AI 100


def render(name: str, value: Json) -> tuple[str, ...]:
    """One checked option as the compiler takes it: ``("mos", [1, 2])`` is ``("-mos=1,2",)``."""
    option = TABLE[name]
    if option.kind == "flag":
        return (option.flag,) if value else ()
    if option.kind == "switch":
        return (f"{option.flag}={'true' if value else 'false'}",)
    if isinstance(value, list | tuple):
        return (f"{option.flag}={','.join(str(item) for item in value)}",)
    return (f"{option.flag}={value:g}" if isinstance(value, float) else f"{option.flag}={value}",)


def _raw(raw: Sequence[str], files: Mapping[str, Path]) -> list[str]:
    """The forced flags; one whose value is a file reads the copy in the program's folder."""
    return [
        f"{flag.partition('=')[0]}={files[raw_file_name(position)]}" if raw_file_name(position) in files else flag
        for position, flag in enumerate(raw)
    ]


def specializations(
    inputs: Sequence[TensorSpec], buckets: Sequence[Shape], *, named: bool, retained: bool = False
) -> str | None:
    """Text of the specialization file: one entry a bucket, ascending; of a decoder the prompt's one first.

    Args:
        inputs: The graph's inputs; only dims that are free in them are bound.
        buckets: The shapes to compile.
        named: The form ``{"name", "symbols"}`` of ``qaic-compile``; else the flat form of ``qaic-exec``.
        retained: Whether the graph has state, so that it is a decoder.

    Returns:
        The JSON text, or ``None`` when the graph has no free dim.

    Raises:
        CompileError: A free dim that the buckets don't size.
    """
    free = {dim for spec in inputs for dim in spec.shape if isinstance(dim, str)}
    if not free:
        return None
    labels, ordered = _decoder_entries(buckets) if retained else _encoder_entries(buckets)
    entries = [{name: str(size) for name, size in b.sizes.items() if name in free} for b in ordered]
    unbound = sorted(free - set(entries[0]))
    if unbound:
        raise CompileError(
            "The graph has a free dim that no bucket gives a size to.",
            got=unbound,
            allowed=f"the free dims {', '.join(sorted(buckets[0].sizes))}",
            do="export the graph with batch and length as its only free dims",
        )
    if retained and SLOTS_DIM in free and labels[0] in (ENCODER, PREFILL):
        # no symbol of the graph: the rows that run at once, which the vendor's library writes for the prompt's entry
        entries[0]["full_batch_exec_size"] = str(ordered[0].batch)
    if not named:
        return _json({"specializations": entries})
    return _json({"specializations": [{"name": n, "symbols": e} for n, e in zip(labels, entries, strict=True)]})


def _encoder_entries(buckets: Sequence[Shape]) -> tuple[list[str], list[Shape]]:
    ordered = sorted(buckets)
    return _numbered("Embedding", len(ordered)), ordered


def _decoder_entries(buckets: Sequence[Shape]) -> tuple[list[str], list[Shape]]:
    """The names that the vendor's library gives: the entry with the longest rows, of one logit each, is the prompt's.

    A single entry with rows of one token serves for both. Where there is an encoder, the entry in which it reads comes
    first, under the name that the vendor's Whisper has for it.
    """
    reads = [bucket for bucket in buckets if bucket.sizes.get(SOURCE_DIM, 1) > 1]
    if reads:
        labels, others = _decoder_entries([bucket for bucket in buckets if bucket not in reads])
        return [ENCODER, *labels], [*reads, *others]
    prompt, *steps = sorted(buckets, key=lambda b: (-b.length, b.sizes.get(NUM_LOGITS_TO_KEEP, 1), b.batch))
    if not steps:
        return [DECODE if prompt.length == 1 else PREFILL], [prompt]
    return [PREFILL, *_numbered(DECODE, len(steps))], [prompt, *sorted(steps)]


def _numbered(name: str, count: int) -> list[str]:
    return [name] if count == 1 else [f"{name}_{i}" for i in range(count)]


def custom_io(pairs: Mapping[str, str], target: Target, options: CompileOptions) -> str | None:
    """Text of the custom I/O file: in which precision state is kept.

    It is the only place that says so, and both names of a pair need the same. ``None``: as the graph has it, which is
    so for arithmetic in fp32: the compiler takes no fp32 in this file.
    """
    precision = "mxint8" if options.flags.get(MXINT8) else "float16" if target.compute == "fp16" else None
    if not pairs or precision is None:
        return None
    names = [name for pair in pairs.items() for name in pair]
    return "\n".join(f" - IOName: {name}\n   Precision: {precision}\n" for name in names)


def partition(target: Target) -> str | None:
    """Text of the partition file: one partition, tensor-sliced over all devices; ``None`` for one device."""
    if target.devices == 1:
        return None
    ids = list(range(target.devices))  # logical ids; the session maps them to real ones
    devices = [{"deviceId": i, "numCores": target.cores} for i in ids]
    return _json(
        {
            "connections": [{"devices": ids, "type": "p2p"}],
            "partitions": [{"name": "Partition0", "devices": devices}],
        }
    )


def check_devices(count: int) -> None:
    """Refuse a program over more devices than the vendor's partitioning spans.

    Raises:
        OptionError: ``num_devices`` is out of range.
    """
    if not 1 <= count <= MAX_DEVICES:
        raise OptionError(
            "num_devices is out of range.",
            got=count,
            allowed=f"1 to {MAX_DEVICES}",
            do="use fewer devices for one program, and device_ids= to run copies of it side by side",
        )


def check_partition(text: str, target: Target) -> None:
    """Refuse a caller's partition file that disagrees with ``num_devices`` or ``num_cores``.

    Raises:
        OptionError: It is no partition file, its devices are not 0 to num_devices - 1, or it uses other cores.
    """
    try:
        placed = [d for part in json.loads(text)["partitions"] for d in part["devices"]]
        used, cores = {d["deviceId"] for d in placed}, {d["numCores"] for d in placed}
    except (ValueError, KeyError, TypeError) as error:
        raise OptionError(
            "mdp_load_partition_config is not a partition file.",
            got=f"{type(error).__name__}: {error}",
            allowed='JSON with "partitions", each with "devices", each with "deviceId" and "numCores"',
            do="correct the file",
        ) from error
    if used != set(range(target.devices)):
        raise OptionError(
            "The partition file and num_devices disagree.",
            got=f"deviceId {sorted(used)} with num_devices={target.devices}",
            allowed=f"deviceId {list(range(target.devices))}",
            do=f"compile(num_devices={len(used)}), or number the file's devices from 0",
        )
    if cores != {target.cores}:
        raise OptionError(
            "The partition file and num_cores disagree.",
            got=f"numCores {sorted(cores)} with num_cores={target.cores}",
            allowed=f"numCores {target.cores} on each device",
            do=f"compile(num_cores={max(cores)}), or correct the file",
        )


def _json(value: Json) -> str:
    return json.dumps(value, indent=2) + "\n"
