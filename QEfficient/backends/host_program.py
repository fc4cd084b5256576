"""What every backend on the host does alike: a program is its graphs with their external data, and nothing else."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from QEfficient.backends.base import Availability, Graphs, GraphShapes, Session
from QEfficient.backends.graphs import jobs
from QEfficient.backends.host_session import HostSession
from QEfficient.backends.option_files import copied_files
from QEfficient.backends.refusals import other_precision
from QEfficient.backends.retained import state_pairs
from QEfficient.backends.state_session import StateSession
from QEfficient.errors import BackendUnavailableError, CompileError, CorruptArtefactError, DeviceError, OptionError
from QEfficient.records import CompileOptions, GraphFacts, Json, Manifest, OnnxModel, Program, Target


class HostBackend(ABC):
    """A runtime on the host's CPUs; see :class:`QEfficient.backends.base.Backend`."""

    name: str
    compute: tuple[str, ...]
    runtime: str
    """What the runtime is called, in messages."""
    session: type[HostSession[Any]]
    """What it opens."""
    state_session: type[StateSession]
    """What it opens where a graph has state."""

    def can_compile(self) -> Availability:
        """Wherever the runtime can be imported."""
        return self.can_run()

    def can_run(self) -> Availability:
        """Wherever the runtime can be imported."""
        try:
            return Availability(True, f"{self.runtime} {self.version()}")
        except BackendUnavailableError as error:
            return Availability(False, f"{error.what} {error.got}", str(error.do))

    def version(self) -> str:
        """The version of the runtime."""
        return self._version

    @cached_property
    def _version(self) -> str:
        """The version, found out once: it is asked for by every compile."""
        return self._find_version()

    @abstractmethod
    def _find_version(self) -> str:
        """Imports the runtime and asks it."""

    def parse_options(self, keywords: Mapping[str, Json]) -> CompileOptions:
        """Checks the card's options as the card would; the host records them and does not use them."""
        if not keywords:
            return CompileOptions()
        from QEfficient.backends import card_options  # 50 options, needed by compile only

        return card_options.parse(keywords)

    def check(self, target: Target, options: CompileOptions) -> None:  # noqa: B027 - most have nothing to refuse
        """Refuses nothing: cores and devices are a card's, and the precision is checked against :attr:`compute`."""

    def compile(
        self, graphs: Graphs, shapes: GraphShapes, target: Target, options: CompileOptions, workdir: Path
    ) -> Program:
        """Links or copies each graph and its external data into ``workdir``, and lets the runtime load it once.

        Raises:
            OptionError: No shapes, a precision that it does not have, or the file of an option is gone or does not fit.
            CorruptArtefactError: External data is missing or stands outside the graph's folder.
            CompileError: The runtime refuses the graph; its message is kept.
            BackendUnavailableError: The runtime is not installed.
        """
        self.version()  # that it is there at all
        program = make(self.compute, graphs, shapes, target, options, workdir)
        found = {}
        for name, model in graphs.items():
            one = program.only(name)
            try:
                one = self._prepare(one, model)
                self._try(one)
            except (CorruptArtefactError, DeviceError) as error:
                raise CompileError(
                    f"{self.runtime} does not load the graph.",
                    got=str(error.got),
                    allowed=f"a graph that {self.runtime} supports",
                    do=f"check it with onnx.checker.check_model({str(model.path)!r}), or compile for another backend",
                ) from error
            found[name] = self._complete(one, model, options)
        return replace(program, manifest=replace(program.manifest, graphs=found))

    def _prepare(self, program: Program, model: OnnxModel) -> Program:
        """The program with what its only graph needs to be loaded at all."""
        return program

    @abstractmethod
    def _try(self, program: Program) -> None:
        """Loads the only graph of a program, at the least cost.

        Raises:
            CorruptArtefactError: A file is missing, short, altered or outside the folder.
            DeviceError: The runtime refuses it for another reason.
        """

    def _complete(self, program: Program, model: OnnxModel, options: CompileOptions) -> GraphFacts:
        """The facts of the program's only graph, once whatever is run in its place stands beside it."""
        return program.manifest.graph

    def open(self, program: Program, devices: Sequence[int] | None = None, *, strict: bool = False) -> Session:
        """Loads a program; what it gives keeps state, where the graph has any (``base.Retaining``).

        Raises:
            OptionError: ``devices`` is given; the host has none.
            CorruptArtefactError: The graph or its external data is missing, short, altered or outside the folder.
            DeviceError: The runtime can't load it for another reason.
            BackendUnavailableError: The runtime is not installed, or the CPU does not have the precision.
        """
        refuse_devices(devices)
        if state_pairs(program.manifest.inputs, program.manifest.outputs):
            return self._open_with_state(program, strict=strict)
        return self.session(program, strict=strict)

    def _open_with_state(self, program: Program, *, strict: bool) -> StateSession:
        """Loads a program whose graph has state."""
        return self.state_session(program, strict=strict)


def make(
    compute: Sequence[str], graphs: Graphs, shapes: GraphShapes, target: Target, options: CompileOptions, workdir: Path
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
        raise other_precision(target.backend, target.compute, compute)
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
