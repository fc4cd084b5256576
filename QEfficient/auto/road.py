"""A model's road to a program: it is found, exported, compiled. With the state that this leaves in an Auto object.

``export`` and ``compile`` import what only they need: a saved program starts without it.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from QEfficient import arguments, hub
from QEfficient import program as programs
from QEfficient.auto.compression.quantized import Quantized
from QEfficient.auto.evaluations import Evaluations
from QEfficient.build.request import CORES, CompileRequest, Unset, parse, verify_mode
from QEfficient.build.saved import saved_program
from QEfficient.cache import Cache
from QEfficient.errors import UsageError
from QEfficient.inference.encode import TextEncoder
from QEfficient.inference.loaded_program import LoadedProgram
from QEfficient.numerics.explain import explain
from QEfficient.records import Program, TextFacts
from QEfficient.source.checkpoint import Checkpoint
from QEfficient.source.head import Head
from QEfficient.source.loaded_module import LoadedModule
from QEfficient.source.origin import Origin
from QEfficient.source.recipe import Recipe, recipe_of
from QEfficient.source.text import text_facts
from QEfficient.tasks.task import Task

if TYPE_CHECKING:
    from torch import nn

    from QEfficient.numerics.verify import Limits

HUB_KEYWORDS = ("revision", "token", "cache_dir", "local_files_only", "force_download", "subfolder")


class Road:
    """The state of an Auto object, and how it comes to have a program."""

    _task: ClassVar[Task]

    def _begin(self, origin: Origin | None, loaded: LoadedProgram | None = None) -> None:
        self._origin, self._loaded = origin, loaded
        self._head = Head()
        self._export_verify = "on"  # as the last export() was asked for it
        self._onnx_path: Path | None = None  # what the caller was given
        self._config: Any = None
        self._max_seq_length: int | None = None
        self._quantized: Quantized | None = None  # how it is compiled, where quantize made it
        self._encoder: tuple[tuple[object, ...], TextEncoder] | None = None  # the last call's, and what it was made for
        self.model_card_data = Evaluations()
        self._lock = threading.RLock()

    def __init__(self, model: nn.Module) -> None:
        self._begin(LoadedModule(model))

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, *args: Any, **kwargs: Any) -> Self:
        """Resolves a model or a saved program by hub id or path. The weights are read when first needed.

        Args:
            pretrained_model_name_or_path: A hub id, a local folder, or the folder of a saved program.
            *args: As the ``from_pretrained`` of transformers' class for this task takes them.
            **kwargs: Likewise (``revision``, ``token``, ``cache_dir``, ``trust_remote_code``, ``dtype``,
                ``local_files_only``, …). A saved program takes ``backend`` (run its graph there), ``strict``
                (exactly the compiled shapes) and ``check`` (compare every file's digest; sizes always are) instead.

        Raises:
            LoadError: No such model, or it can't be read.
            UsageError: A saved program of another task.
        """
        name = pretrained_model_name_or_path
        arguments.path_like("pretrained_model_name_or_path", name, "a hub id or the path of a folder")
        where = {name: kwargs.pop(name) for name in HUB_KEYWORDS if name in kwargs}
        found = hub.resolve(name, hub.Where(**where), also=hub.language_files(kwargs.get("target_lang")))
        self = cls.__new__(cls)
        if hub.is_program(found.folder):
            self._begin(None, saved_program(found, cls._task, kwargs))
        else:
            self._begin(Checkpoint(found, cls._task.auto_class, args, kwargs, where))
        return self

    def _need_origin(self, what: str) -> Origin:
        if self._origin is None:
            raise UsageError(
                f"{what} needs the torch model, and a saved program has none.",
                got=str(self._need_loaded().program.path),
                allowed="generate, encode, save_pretrained, config, device_report",
                do="load the original model by name with from_pretrained",
            )
        return self._origin

    def _need_loaded(self) -> LoadedProgram:
        if self._loaded is None:
            raise UsageError(
                "The model is not compiled yet.",
                got=self._origin.name if self._origin else type(self).__name__,
                allowed="a compiled model, or generate(…, runtime_ai100=False) for the torch model",
                do="call compile() first",
            )
        return self._loaded

    def _recipe(self, functions: bool, verify: str) -> Recipe:
        origin = self._need_origin("export or compile")
        return recipe_of(origin, self._head, self._task, functions, verify)

    def _text(self, recipe: Recipe | None = None) -> TextFacts:
        facts = text_facts(recipe or self._recipe(False, "off"))
        return facts if self._max_seq_length is None else dataclasses.replace(facts, max_length=self._max_seq_length)

    # ------------------------------------------------------------------------------------ export and compile

    def export(
        self, export_dir: str | Path | None = None, *, use_onnx_subfunctions: bool = False, verify: str = "on"
    ) -> str:
        """Exports the model to ONNX, or finds the same export in the cache.

        Args:
            export_dir: Parent folder for a copy; left out, the graph stays in the cache (``QEFF_HOME``).
            use_onnx_subfunctions: Write repeated layers as ONNX functions; the numbers stay the same.
            verify: ``"on"`` checks the graph's numbers against HuggingFace float32; ``"off"`` is recorded.

        Returns:
            Path of the ``.onnx`` file: opset 18, dims ``batch_size`` and ``seq_len``, external data beside it.

        Raises:
            ExportError: The exporter refused the model.
            NumericsError: The weights hold NaN or Inf, or the graph differs from HuggingFace.
        """
        from QEfficient.build.graph_stage import copy_onnx, export_stage

        recipe = self._recipe(use_onnx_subfunctions, verify_mode(verify))
        recipe.architecture.check(recipe.origin.config())
        with self._lock:
            graph = export_stage(recipe, Cache())
            self._onnx_path = graph.path if export_dir is None else copy_onnx(graph, Path(export_dir))
            self._export_verify = recipe.verify
            return str(self._onnx_path)

    def compile(
        self,
        onnx_path: str | Path | None = None,
        compile_dir: str | Path | None = None,
        *,
        seq_len: int | Iterable[int] | Literal["auto"] | None = None,
        batch_size: int | Sequence[int] = Unset(1),
        num_devices: int = 1,
        num_cores: int = Unset(CORES),
        mxfp6_matmul: bool = False,
        use_onnx_subfunctions: bool = False,
        backend: str | None = None,
        compute: str | None = None,
        strict: bool = False,
        verify: str = "on",
        texts: Iterable[str] | None = None,
        limits: Limits | Mapping[str, float | None] | None = None,
        objective: str | None = None,
        buckets: int | None = None,
        **compiler_options: Any,
    ) -> str:
        """Compiles the model, or finds the same program in the cache.

        Args:
            onnx_path: A graph to compile instead of this model's own export.
            compile_dir: Parent folder for a copy of the program; left out, it stays in the cache (``QEFF_HOME``).
            seq_len: Tokens of a bucket, or a list of them. Left out: 32, 64, … up to the model's own limit. ``"auto"``:
                the buckets that :meth:`suggest_buckets` finds for ``texts``; the last one has the model's own limit.
            batch_size: Rows of a bucket, where shapes are fixed, or a list of them: of each length of ``seq_len``.
                Left out, 1; with ``seq_len="auto"`` and no ``objective`` each bucket has its own, whichever costs
                least.
            num_devices: Devices (SoCs) that one program spans.
            num_cores: AI cores (NSP) of an instance on the card; the host ignores it.
            mxfp6_matmul: Store matrix-multiply weights as MXFP6 on the card.
            use_onnx_subfunctions: Export repeated layers as ONNX functions and keep them on the card.
            backend: ``"onnxruntime"``, ``"openvino"``, ``"qaic"``, ``"emulator"`` (its arithmetic on the host) or
                ``"auto"`` (the default; ``QEFF_BACKEND`` sets another).
            compute: Precision of the arithmetic; left out, the backend's default (fp32 on the host, fp16 on the card).
                ``"int8"`` on the host: products in int8, calibrated on built-in texts and ``texts``; the layers that
                cost too much accuracy are left out (``device_report()["int8"]``). ``"int8_weights"`` and
                ``"int4_weights"`` on the host: weights alone have few bits (``device_report()["weights"]``).
            strict: On the host, run exactly the compiled shapes, as a card does.
            verify: ``"on"`` checks the program's numbers against HuggingFace float32: the graph's; for the card its
                arithmetic, emulated here; on the host the program's own below fp32 and on OpenVINO. ``"off"`` is
                recorded.
            texts: Further texts to verify on. With ``seq_len="auto"`` they also choose the buckets; of more than 256
                some of every length are verified on.
            limits: What must hold in place of the defaults, for example ``{"min_cosine": 0.999}``; see
                :class:`QEfficient.numerics.verify.Limits`.
            objective: ``"throughput"``, ``"latency"`` or ``"balanced"``: fills in those of ``num_cores``,
                ``batch_size``, ``ols``, ``mos`` and ``multicast_weights`` that are left out, as :meth:`recommend` finds
                them for the longest bucket. The host keeps these with the program; only a card makes use of them.
            buckets: With ``seq_len="auto"``: the most buckets, 5 when left out.
            **compiler_options: The compiler's documented flags with underscores (``mos=1``); ``raw_compiler_flags=[…]``
                forces others. ``node_precision_info=True`` lets :meth:`doctor` make the file.

        Returns:
            On the card the folder with ``programqpc.bin``; on the host the program's folder.

        Warns:
            UserWarning: The tokenizer gives ids that the model has no row for: tokens were added, its table was not
                resized.

        Raises:
            OptionError: An unknown keyword or a value out of range.
            BackendUnavailableError: What was asked for can't be had here.
            CompileError: The compiler failed; its output is kept.
            VerificationError: The numbers are past a limit; no program is kept.
        """
        given = locals()
        with self._lock:
            if self._quantized is not None:
                given = self._quantized.filled_in(given)
            program, request = self._compiled(given, compiler_options, Cache())
            loaded = self._keep_program(program, request, given)
        loaded.warn_of_tokens()
        return str(loaded.program.binary_path or loaded.program.path)

    def _compiled(
        self, given: Mapping[str, Any], options: Mapping[str, Any], cache: Cache
    ) -> tuple[Program, CompileRequest]:
        """The program for the arguments of :meth:`compile`, and the request that they are once it is filled in."""
        from QEfficient.auto.completions import COMPLETIONS
        from QEfficient.build.program_stage import compile_stage
        from QEfficient.build.subject import ModelSubject

        recipe = self._recipe(given["use_onnx_subfunctions"], given["verify"])
        request = parse(given, options, self._text(recipe))
        subject = ModelSubject(recipe, request.text)
        for field, complete in COMPLETIONS:
            if getattr(request, field) is not None:
                request = complete(request, subject)
        steps = self._quantized.steps if self._quantized else ()
        return compile_stage(recipe, request, cache, steps), request

    def _keep_program(self, program: Program, request: CompileRequest, given: Mapping[str, Any]) -> LoadedProgram:
        """Runs this program from now on: its copy in ``compile_dir``, and ``strict``, where these are asked for."""
        strict, folder = given.get("strict", False), given.get("compile_dir")
        if folder is not None:
            program = programs.save(program, Path(folder) / program.path.name)
        old = self._loaded
        if old is not None and (old.program, old.strict) == (program, strict):
            return old  # its open session goes on
        loaded = LoadedProgram(program, request.backend, request.reason, strict=strict, explain=explain)
        self._loaded, self._encoder = loaded, None  # that keeps the program that it was made for, with its tokenizer
        if old is not None:
            old.retire()
        return loaded
