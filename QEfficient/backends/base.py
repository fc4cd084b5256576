"""The seam between the library and whatever compiles and runs a program.

A backend is found by name in ``registry.py`` and imported on use. It compiles and opens (:class:`Backend`); what it
opens runs (:class:`Session`). What only some sessions can do is a protocol of its own, which callers ask for with
``isinstance``. All are held to one suite, ``tests/backends/conformance.py``. Neither this file nor any backend imports
torch or transformers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import NoReturn, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from QEfficient.errors import UsageError
from QEfficient.records import CompileOptions, Json, OnnxModel, Program, Shape, Target, TensorSpec, Tuning

Arrays = dict[str, NDArray[np.generic]]
Graphs = Mapping[str, OnnxModel]
GraphShapes = Mapping[str, Sequence[Shape]]
"""What each graph is compiled for, by the graphs' names."""


@dataclass(frozen=True, slots=True)
class Availability:
    """Whether a backend can do a thing here; if not, the reason and the way to get it."""

    ok: bool
    reason: str = ""
    hint: str = ""


class OfOneProcess:
    """What holds a device, or a loaded graph: it is neither copied nor sent to another process."""

    def __reduce__(self) -> NoReturn:
        raise UsageError(
            f"An open {type(self).__name__} can't be pickled or copied: it belongs to the process that opened it.",
            got=type(self).__name__,
            allowed="the model, which is pickled as its program's path, or that path",
            do="send one of these, and open the program where it is to run",
        )


class Closing(ABC):
    """What is closed where a ``with`` block ends."""

    @abstractmethod
    def close(self) -> None:
        """Ends it; a second call does nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class Session(Protocol):
    """A loaded graph of a program.

    A caller may rely on this: ``run`` and ``submit`` may be called from many threads; results are new arrays that
    the caller owns; with ``fixed_shapes`` only those of ``shapes`` are taken, without it any batch, and each other dim
    up to its largest size there; a failed call raises and leaves the session usable or closed, never returns garbage;
    ``close`` may be called twice. A session used in a forked child reopens itself.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    shapes: tuple[Shape, ...]
    fixed_shapes: bool
    slots: int
    """How many submitted runs may usefully be in flight at once."""

    def run(self, arrays: Mapping[str, NDArray[np.generic]]) -> Arrays:
        """Input name → array in, output name → array out: this one as soon as can be, on every CPU of the host.

        Raises:
            InputError: A name, dtype or shape does not fit.
            DeviceError: The device failed.
        """
        ...

    def submit(self, arrays: Mapping[str, NDArray[np.generic]]) -> Future[Arrays]:
        """As :meth:`run`, in the background: as many as can be in a given time, several side by side."""
        ...

    def report(self) -> dict[str, Json]:
        """Facts for ``device_report()``: device, threads, runtime version."""
        ...

    def close(self) -> None:
        """Free the device. Runs in flight finish first."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


@runtime_checkable
class Tunable(Protocol):
    """A session whose speed depends on how many batches it runs at once, and how large they are: one on a host's CPUs.

    ``warmup`` measures what is best on a machine. It is no property of the program, so it is set on an open session.
    """

    tuning: Tuning
    """How it runs: a guess until :meth:`tune` is called. ``slots`` are its streams."""

    def tune(self, tuning: Tuning) -> None:
        """Runs so from now on. Runs in flight finish first."""
        ...

    def use_huge_pages(self) -> None:
        """Moves the weights into huge pages, where the system has them. To be called after the first runs.

        The CPU's TLB then misses less often. It may take seconds.
        """
        ...


@runtime_checkable
class Retaining(Protocol):
    """A session that keeps state between runs: every input ``X`` that has an output ``X_RetainedState``.

    :meth:`Backend.open` gives one for every program whose graph has state. ``run`` takes and gives the other arrays
    only, as ``inputs`` and ``outputs`` say; what is run changes the state. State stands in slots, along the first axis
    of each state input; the last slot of a graph with ``batch_index`` is a scratch slot, which takes dropped writes. A
    session has one owner: it is not for many threads, and a fork with retained state raises.
    """

    states: tuple[TensorSpec, ...]
    """The state inputs, in graph order, with the sizes that they have here and in the dtype that is kept."""

    def read(self, slot: int) -> Arrays:
        """What a slot holds: name → a copy, without the first axis.

        Raises:
            UsageError: There is no such slot.
        """
        ...

    def write(self, slot: int, state: Mapping[str, NDArray[np.generic]]) -> None:
        """Makes a slot hold ``state``, as :meth:`read` gives it.

        Raises:
            InputError: A name, dtype or shape does not fit.
        """
        ...

    def copy(self, source: int, target: int, length: int | None = None) -> None:
        """Makes slot ``target`` hold what ``source`` does: all, or its first ``length`` positions, source and rings."""
        ...

    def clear(self, slot: int | None = None) -> None:
        """Zeroes a slot, or all."""
        ...

    @property
    def bytes_held(self) -> int:
        """Bytes of all state."""
        ...


@runtime_checkable
class Carrying(Protocol):
    """A session whose device may have an array in another dtype than the caller gives or gets."""

    @property
    def carried(self) -> Mapping[str, str]:
        """Input or output name → numpy dtype's name."""
        ...


@runtime_checkable
class Backend(Protocol):
    """Compiles graphs into programs and opens them."""

    name: str
    compute: tuple[str, ...]
    """Precisions it can be asked for; the first is its default."""

    def can_compile(self) -> Availability:
        """Whether :meth:`compile` can work on this machine."""
        ...

    def can_run(self) -> Availability:
        """Whether :meth:`open` can work on this machine."""
        ...

    def version(self) -> str:
        """Version of the runtime or SDK; part of the cache key."""
        ...

    def parse_options(self, keywords: Mapping[str, Json]) -> CompileOptions:
        """Checks ``compiler_options`` of ``compile``.

        Raises:
            OptionError: An unknown name (the nearest matches are named) or a value out of range.
        """
        ...

    def check(self, target: Target, options: CompileOptions) -> None:
        """Refuses what :meth:`compile` would refuse without looking at the graph. Called before the export.

        Raises:
            OptionError: This machine, or this compiler, can't do it.
            BackendUnavailableError: Something is missing on this machine.
        """
        ...

    def compile(
        self, graphs: Graphs, shapes: GraphShapes, target: Target, options: CompileOptions, workdir: Path
    ) -> Program:
        """Writes the program's files into ``workdir`` (which exists and holds nothing of the program yet).

        Each graph with its external data is copied (hard-linked where possible) there, and whatever the backend
        builds: see ``graphs.jobs``. The returned manifest holds what the backend knows: target, graphs, options, sdk.
        ``program.write`` adds the rest. A graph's own file is never changed.

        Args:
            graphs: Name → graph: ``"model"`` where there is one, else what each is for (``"encoder"``).
            shapes: Name → what that graph is compiled for.
            target: For all of them, as the options are.
            options: As :meth:`parse_options` gives them.
            workdir: The program's folder.

        Raises:
            OptionError: A graph has no shapes, or as :meth:`check`.
            CompileError: The compiler failed; its output is kept.
            BackendUnavailableError: Something is missing on this machine.
        """
        ...

    def open(self, program: Program, devices: Sequence[int] | None = None, *, strict: bool = False) -> Session:
        """Loads a program.

        Args:
            program: As :meth:`compile` made it, possibly moved, with one graph: ``program.only(name)`` of several.
            devices: Device ids; ``None`` lets the backend choose. The host refuses anything but ``None``.
            strict: Take only the compiled shapes, as a card does. Always so on a card.
        """
        ...
