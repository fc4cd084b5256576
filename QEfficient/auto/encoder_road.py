"""An encoder's road to a program: what its graph is made of, how it is exported and compiled.

``export`` and ``compile`` import what only they need: a saved program starts without it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from QEfficient.arguments import Unset
from QEfficient.auto.compression.quantized import Quantized
from QEfficient.auto.sharing import Sharing
from QEfficient.build.buckets import sequence_limit
from QEfficient.build.request import CORES, CompileRequest, parse
from QEfficient.build.saved import Opened
from QEfficient.cache import Cache
from QEfficient.inference.encode import TextEncoder
from QEfficient.inference.loaded_program import LoadedProgram
from QEfficient.numerics.explain import explain
from QEfficient.records import Json, Program, TextFacts
from QEfficient.source.head import Head
from QEfficient.source.origin import Origin
from QEfficient.source.recipe import Recipe, recipe_of, verify_mode
from QEfficient.source.text import text_facts

if TYPE_CHECKING:
    from QEfficient.numerics.verify import Limits


class EncoderRoad(Sharing[LoadedProgram]):
    """What a model has whose program gives vectors or scores for rows: its head, its limit, its export and compile."""

    _head = Head()
    _export_verify = "on"  # as the last export() was asked for it
    _max_seq_length: int | None = None
    _quantized: Quantized | None = None  # how it is compiled, where quantize made it
    _encoder: tuple[tuple[object, ...], TextEncoder] | None = None  # the last call's, and what it was made for

    @staticmethod
    def _open(opened: Opened) -> LoadedProgram:
        return LoadedProgram(opened.program, opened.backend, opened.reason, strict=opened.strict, explain=explain)

    def _recipe(self, functions: bool, verify: str) -> Recipe:
        origin = self._need_origin("export or compile")
        return recipe_of(origin, self._head, self._task, functions, verify)

    def _text(self, recipe: Recipe | None = None) -> TextFacts:
        facts = text_facts(recipe or self._recipe(False, "off"))
        return facts if self._max_seq_length is None else dataclasses.replace(facts, max_length=self._max_seq_length)

    def _own_steps(self) -> tuple[Mapping[str, Json], ...]:
        return self._quantized.steps if self._quantized else ()

    def _has_code(self) -> bool:
        return self._head.function is not None

    def _without_code(self) -> dict[str, Any]:
        return {"_head": Head(self._head.steps)}  # the program has the function

    def _keep(self, loaded: LoadedProgram | None) -> None:
        self._encoder = None  # it keeps the program that it was made for, with its tokenizer
        super()._keep(loaded)

    def _become(self, origin: Origin) -> None:
        self._quantized = None
        super()._become(origin)

    @property
    def max_seq_length(self) -> int:
        """The most tokens of a text that ``encode`` keeps, special tokens included. Settable."""
        if self._max_seq_length is not None:
            return self._max_seq_length
        return (self._loaded.text if self._loaded else self._text()).max_length

    @max_seq_length.setter
    def max_seq_length(self, value: int) -> None:
        if self._origin is not None:
            limit = self._recipe(False, "off").reach.whole
        else:
            limit = self._need_loaded().program.manifest.shapes[-1].length
        self._max_seq_length = sequence_limit(value, limit)

    def get_max_seq_length(self) -> int:
        """As :attr:`max_seq_length`."""
        return self.max_seq_length

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
            loaded = self._keep_program(program, request.backend, request.reason, given)
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
        return compile_stage(recipe, request, cache, self._own_steps()), request
