"""What a program of every host backend is made of: the graph with its external data, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from QEfficient.errors import OptionError
from QEfficient.records import CompileOptions, Manifest, OnnxModel, Program, Shape, Target


def make(
    compute: Sequence[str],
    model: OnnxModel,
    buckets: Sequence[Shape],
    target: Target,
    options: CompileOptions,
    workdir: Path,
) -> Program:
    """Links or copies the graph and its external data into ``workdir``; no runtime has looked at it yet.

    Args:
        compute: The backend's precisions.
        model: The graph.
        buckets: Shapes to compile for.
        target: What the program is for.
        options: Recorded; the host does not use them.
        workdir: Where it goes.

    Raises:
        OptionError: No buckets, or another precision.
        CorruptArtefactError: External data is missing or stands outside the graph's folder.
    """
    if target.compute not in compute:
        raise OptionError(
            "The host does not compute in this precision.",
            got=target.compute,
            allowed=", ".join(compute),
            do=f"pass compute={compute[0]!r}, or leave it out",
        )
    if not buckets:
        raise OptionError(
            "There are no shapes to compile for.",
            got="no buckets",
            allowed="at least one bucket",
            do="pass seq_len=128, or leave it out",
        )
    _copy_graph(model.path, workdir)
    manifest = Manifest(
        target=target,
        buckets=tuple(sorted(buckets)),
        inputs=model.inputs,
        outputs=model.outputs,
        onnx=model.path.name,
        options=options,
    )
    return Program(workdir, manifest)


def refuse_devices(devices: Sequence[int] | None) -> None:
    """Refuses device ids.

    Raises:
        OptionError: ``devices`` is given; the host has none.
    """
    if devices is not None:
        raise OptionError(
            "The host has no device ids.",
            got=list(devices),
            allowed="None",
            do="leave device_ids out, or compile with backend='qaic' for a card",
        )


def _copy_graph(source: Path, workdir: Path) -> None:
    """The graph and every external file that it names, to the same relative places."""
    from QEfficient.cache import link_or_copy
    from QEfficient.onnx_transforms import external_files  # imports onnx, which a session must not need

    for file in (source, *external_files(source)):
        copy = workdir / file.relative_to(source.parent)
        copy.parent.mkdir(parents=True, exist_ok=True)
        link_or_copy(file, copy)
