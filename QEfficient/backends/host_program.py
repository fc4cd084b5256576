"""What a program of every host backend is made of: its graphs with their external data, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from QEfficient.backends.base import Graphs, GraphShapes
from QEfficient.backends.graphs import jobs
from QEfficient.backends.option_files import copied_files
from QEfficient.errors import OptionError
from QEfficient.records import CompileOptions, Manifest, Program, Target


def make(
    compute: Sequence[str],
    graphs: Graphs,
    shapes: GraphShapes,
    target: Target,
    options: CompileOptions,
    workdir: Path,
) -> Program:
    """Links or copies the graphs and their external data into ``workdir``; no runtime has looked at them yet.

    Args:
        compute: The backend's precisions.
        graphs: By name.
        shapes: What each is compiled for, by the graphs' names.
        target: What the program is for.
        options: Recorded, their files with them; the host does not use them.
        workdir: Where it goes.

    Raises:
        OptionError: No shapes, another precision, or the file of an option is gone.
        CorruptArtefactError: External data is missing or stands outside the graph's folder.
    """
    if target.compute not in compute:
        raise OptionError(
            "The host does not compute in this precision.",
            got=target.compute,
            allowed=", ".join(compute),
            do=f"pass compute={compute[0]!r}, or leave it out",
        )
    found = {}
    for name, job in jobs(graphs, shapes, workdir).items():
        _copy_graph(job.model.path, job.folder)
        found[name] = job.facts()
    kept = replace(options, files=copied_files(options.files, workdir))
    return Program(workdir, Manifest(target, found, kept))


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


def _copy_graph(source: Path, folder: Path) -> None:
    """The graph and every external file that it names, to the same relative places."""
    from QEfficient.cache import link_or_copy
    from QEfficient.onnx_transforms import external_files  # imports onnx, which a session must not need

    for file in (source, *external_files(source)):
        copy = folder / file.relative_to(source.parent)
        copy.parent.mkdir(parents=True, exist_ok=True)
        link_or_copy(file, copy)
