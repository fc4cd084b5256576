"""The card as a backend: compiles with the SDK's compiler, runs through its Python runtime."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from QEfficient import settings
from QEfficient.backends import card_options
from QEfficient.backends.base import Availability, Graphs, GraphShapes
from QEfficient.backends.card_options import MXINT8
from QEfficient.backends.graphs import GraphJob, jobs
from QEfficient.backends.option_files import copied_files
from QEfficient.backends.qaic import native, options
from QEfficient.backends.qaic.compiler import Runner, check_cores, compile_program, run_subprocess
from QEfficient.backends.qaic.options import check_devices
from QEfficient.backends.qaic.replica import DATA_PATH_TIMEOUT_MS, Replica
from QEfficient.backends.qaic.retaining import RetainingSession
from QEfficient.backends.qaic.sdk import Compiler, Sdk, find, refuse_other_version
from QEfficient.backends.qaic.session import SLOTS, QaicSession
from QEfficient.backends.refusals import other_precision
from QEfficient.backends.retained import state_pairs
from QEfficient.errors import BackendError, BackendUnavailableError, OptionError
from QEfficient.records import CompileOptions, Json, Manifest, Program, Target

QPC = "qpc"
_INSTALL = "install the Qualcomm Cloud AI SDK, or set QEFF_QAIC_SDK to the root of one"


class QaicBackend:
    """See :class:`QEfficient.backends.base.Backend`.

    Args:
        sdk: The SDK to use; ``None`` looks up the settings at each call.
        runner: What runs the compiler.
        slots: Inferences in flight per device group.
        timeout_ms: How long the runtime waits for the device.
    """

    name = "qaic"
    compute = ("fp16", "fp32")

    def __init__(
        self,
        *,
        sdk: Sdk | None = None,
        runner: Runner = run_subprocess,
        slots: int = SLOTS,
        timeout_ms: int = DATA_PATH_TIMEOUT_MS,
    ) -> None:
        self._sdk, self._runner, self._slots, self._timeout_ms = sdk, runner, slots, timeout_ms

    @property
    def sdk(self) -> Sdk:
        """The SDK in use."""
        return self._sdk or find()

    def can_compile(self) -> Availability:
        """Whether the compiler is on this machine."""
        compiler = self.sdk.compiler
        if compiler is None:
            return Availability(False, f"no qaic-compile or qaic-exec in {self.sdk.root / 'exec'}", _INSTALL)
        return Availability(True, f"{compiler.path}, SDK {self.sdk.version}")

    def can_run(self) -> Availability:
        """Whether the runtime and a ready device are on this machine.

        Raises:
            UsageError: ``QAIC_VISIBLE_DEVICES`` is no list of ids: an answer would hide the mistake.
        """
        try:
            found = native.query_devices(native.load(self.sdk))
        except BackendError as error:
            return Availability(False, f"{error.what} {error.got}", str(error.do))
        ready = [device.id for device in found if device.ready]
        if not ready:
            return Availability(False, "no device is ready", f"check qaic-util -q{native.visible_note()}")
        return Availability(True, f"ready devices: {', '.join(map(str, ready))}")

    def version(self) -> str:
        """SDK version and hardware generation, ``"1.22.0 ai100"``: both decide what the compiler makes."""
        return f"{self.sdk.identity} {self.sdk.hw_version()}"

    def parse_options(self, keywords: Mapping[str, Json]) -> CompileOptions:
        """See :func:`QEfficient.backends.card_options.parse`."""
        return card_options.parse(keywords)

    def check(self, target: Target, options: CompileOptions) -> None:
        """Whether the compiler is here, takes the precision, and the visible devices have the cores.

        Raises:
            OptionError: The target does not fit this compiler or the visible devices.
            BackendUnavailableError: There is no compiler.
        """
        self._compiler()
        if target.compute not in self.compute:
            raise other_precision(self.name, target.compute, self.compute)
        if target.compute != "fp16" and options.flags.get("mxfp6_matmul"):
            raise OptionError(
                "mxfp6_matmul is for fp16: the card expands such weights to fp16 before it multiplies.",
                got=f"mxfp6_matmul=True with compute={target.compute!r}",
                allowed="compute='fp16', the default on the card",
                do="leave compute= or mxfp6_matmul= out",
            )
        if options.flags.get(MXINT8) and "custom_IO_list_file" in options.files:
            raise OptionError(
                "mxint8_kv_cache is written into the custom I/O file, and this one is your own.",
                got="mxint8_kv_cache=True with custom_IO_list_file",
                allowed="one of the two",
                do="list both names of each pair with Precision: mxint8 in your file, or leave it out",
            )
        check_devices(target.devices)
        check_cores(native.devices(self.sdk), target.cores, target.devices)

    def compile(
        self, graphs: Graphs, shapes: GraphShapes, target: Target, options: CompileOptions, workdir: Path
    ) -> Program:
        """Writes each graph with its ``qpc/programqpc.bin`` into ``workdir``, and the option files.

        In the returned manifest ``options.files`` are relative to the program's folder.

        Raises:
            OptionError: As :meth:`check`, or an option's file is gone or does not fit.
            CompileError: The compiler failed; its output is kept.
            BackendUnavailableError: There is no compiler.
        """
        self.check(target, options)
        compiler = self._compiler()
        found = jobs(graphs, shapes, workdir)
        files = copied_files(options.files, workdir)
        absolute = dataclasses.replace(options, files={name: workdir / path for name, path in files.items()})
        for job in found.values():
            self._compile(compiler, job, target, absolute)
        manifest = Manifest(
            target=target,
            graphs={name: job.facts(binary=QPC) for name, job in found.items()},
            options=dataclasses.replace(options, files=files),
            sdk=self.sdk.version,
        )
        return Program(workdir, manifest)

    def _compile(self, compiler: Compiler, job: GraphJob, target: Target, wanted: CompileOptions) -> None:
        """One graph, all its shapes in one QPC."""
        # imports onnx, which a machine that only runs programs need not have
        from QEfficient.onnx_transforms.graph_file import adopt

        graph, count = adopt(job.model.path, job.folder).path, len(job.shapes)
        compile_program(
            self._argv(compiler, graph, job, target, wanted),
            outdir=job.folder / QPC,
            workdir=job.folder,
            title=f"{compiler.kind}: {count} shape{'s' if count > 1 else ''}, {target.cores} cores",
            timeout=settings.compile_timeout(),
            runner=self._runner,
        )

    def _compiler(self) -> Compiler:
        compiler = self.sdk.compiler
        if compiler is None:
            raise BackendUnavailableError(
                "The card's compiler is not on this machine.",
                got=self.can_compile().reason,
                allowed="an SDK with qaic-compile or qaic-exec",
                do=f"{_INSTALL}; compile(backend='onnxruntime') runs on this host",
            )
        return compiler

    def _argv(
        self, compiler: Compiler, graph: Path, job: GraphJob, target: Target, wanted: CompileOptions
    ) -> tuple[str, ...]:
        """The command, after its small input files were written."""
        own_partition = wanted.files.get("mdp_load_partition_config")
        if own_partition is not None:
            options.check_partition(own_partition.read_text(errors="replace"), target)
        named, pairs = compiler.kind == "qaic-compile", state_pairs(job.model.inputs, job.model.outputs)
        own_io = "custom_IO_list_file" in wanted.files
        texts = {
            "specializations.json": options.specializations(
                job.model.inputs, job.shapes, named=named, retained=bool(pairs)
            ),
            "partition.json": None if own_partition else options.partition(target),
            "custom_io.yaml": None if own_io else options.custom_io(pairs, target, wanted),
        }
        written = {}
        for name, text in texts.items():
            if text is not None:
                path = job.folder / name
                path.write_text(text)
                written[path.stem] = path
        return options.argv(
            compiler,
            options.hardware(compiler, wanted.flags.get("aic_hw_version"), self.sdk.hw_version()),
            options.CompilerFiles(graph, job.folder / QPC, **written),
            target,
            wanted,
            retained=bool(pairs),
        )

    def open(
        self, program: Program, devices: Sequence[int] | None = None, *, strict: bool = False
    ) -> QaicSession | RetainingSession:
        """Loads a program onto its devices. A card's shapes are always fixed, so ``strict`` changes nothing.

        Args:
            program: A program of this SDK version. One whose graph has state is opened as
                :class:`QEfficient.backends.qaic.retaining.RetainingSession`.
            devices: A multiple of ``num_devices`` ids, each group is one replica; ``None`` takes ready devices. A
                session that keeps state has one replica.
            strict: Always so on a card.

        Raises:
            StaleProgramError: Another SDK version compiled it.
            BackendUnavailableError: No runtime, or no ready device.
            OptionError: ``devices`` is empty or not a multiple.
            DeviceError: A device refuses.
        """
        manifest, sdk = program.manifest, self.sdk
        folder = program.binary_path
        if manifest.target.backend != self.name or folder is None:
            raise OptionError(
                "This program is not compiled for the card.",
                got=manifest.target.backend,
                allowed=self.name,
                do="compile(backend='qaic')",
            )
        runs = self.can_run()
        if not runs.ok:
            raise BackendUnavailableError(
                "The card's program can't run on this machine.",
                got=runs.reason,
                allowed="the card's runtime and a ready device",
                do=f"{runs.hint}; or run its graph on this host: "
                f"QEFFAutoModel.from_pretrained({str(program.path)!r}, backend='onnxruntime')",
            )
        refuse_other_version(program, sdk)
        runtime = native.load(sdk)
        target = manifest.target

        def connect() -> list[Replica]:  # asks for devices anew in a forked child: its parent holds the first ones
            groups = native.replicas(native.query_devices(runtime), target.devices, target.cores, devices)
            return [Replica(runtime, folder, group, timeout_ms=self._timeout_ms) for group in groups]

        facts: dict[str, Json] = {"backend": self.name, "sdk": sdk.version}
        facts |= {"cores": target.cores, "compute": target.compute}
        if state_pairs(manifest.inputs, manifest.outputs):
            return RetainingSession(manifest, connect(), facts=facts)
        return QaicSession(manifest, connect, slots=self._slots, facts=facts)
