"""A decoder's road to a program: how it is exported and compiled.

``export`` and ``compile`` import what only they need: a saved program starts without it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from QEfficient.arguments import Unset
from QEfficient.auto.decoder_road import DecoderRoad
from QEfficient.build.refused_keywords import COMPILE, refuse_changed
from QEfficient.build.request import CORES
from QEfficient.source.recipe import verify_mode

if TYPE_CHECKING:
    from QEfficient.numerics.verify import Limits


class CausalRoad(DecoderRoad):
    """What a model has whose program goes on with prompts: its export and compile."""

    _of_saved: ClassVar[str] = "generate, chat, stream, perplexity, save_pretrained, config, device_report"

    def export(
        self,
        export_dir: str | Path | None = None,
        prefill_only: bool | None = False,
        prefill_seq_len: int | None = None,
        num_cores: int = CORES,
        moe_prefill_packed_chunk_size: int = 256,
        layerwise: bool = False,
        layerwise_window_size: int = 1,
        kv_cache_prefix: str | None = None,
        dynamo: bool = False,
        *,
        use_onnx_subfunctions: bool = False,
        offload_pt_weights: bool = True,
        enable_chunking: bool = False,
        retain_full_kv: bool | None = None,
        num_speculative_tokens: int | Sequence[int] | None = None,
        verify: str = "on",
    ) -> str:
        """Exports the model to ONNX, or finds the same export in the cache.

        One graph reads prompts and decodes, whatever lengths, rows and slots it is compiled for later. A model that was
        loaded with ``continuous_batching=False`` gives the vendor's plain graph, without ``batch_index``.

        Args:
            export_dir: Parent folder for a copy; left out, the graph stays in the cache (``QEFF_HOME``).
            prefill_only: The graph is the same for prompts and for decoding: either value gives it.
            prefill_seq_len: Lengths are free in the graph: any number gives it.
            num_cores: The graph does not depend on it.
            moe_prefill_packed_chunk_size: Not built; see :meth:`compile`.
            layerwise: Likewise.
            layerwise_window_size: Likewise.
            kv_cache_prefix: Likewise.
            dynamo: torch's dynamo exporter is used in any case.
            use_onnx_subfunctions: Write repeated layers as ONNX functions; cache updates are functions in any case.
            offload_pt_weights: Torch's weights are dropped in any case, and read again when they are needed.
            enable_chunking: Not built; see :meth:`compile`.
            retain_full_kv: Likewise.
            num_speculative_tokens: As :meth:`compile` takes it. 0: the graph has no ``num_logits_to_keep``; left out,
                it has it, as a host's programs do.
            verify: ``"on"`` checks the graph's numbers against HuggingFace float32; ``"off"`` is recorded.

        Returns:
            Path of the ``.onnx`` file; external data stands beside it.

        Raises:
            NotYetSupportedError: A model type that does not write text here yet, or a keyword that is not built.
            ExportError: The exporter refused the model.
            NumericsError: The weights hold NaN or Inf, or the graph differs from HuggingFace.
        """
        from QEfficient.build.decoder_sizes import speculated
        from QEfficient.tasks.text_generation import DecoderForm

        refuse_changed(locals(), COMPILE)
        recipe = self._recipe(use_onnx_subfunctions, verify_mode(verify))
        keeps_logits = num_speculative_tokens is None or speculated(num_speculative_tokens) > 0
        form = DecoderForm(self._continuous is not False, keeps_logits)
        return self._exported(recipe, form, export_dir)

    def compile(
        self,
        onnx_path: str | Path | None = None,
        compile_dir: str | Path | None = None,
        *,
        prefill_seq_len: int = Unset(32),
        ctx_len: int = Unset(128),
        comp_ctx_lengths_prefill: Sequence[int] | None = None,
        comp_ctx_lengths_decode: Sequence[int] | None = None,
        batch_size: int = Unset(1),
        full_batch_size: int | None = None,
        kv_cache_batch_size: int | None = None,
        num_devices: int = 1,
        num_cores: int = Unset(CORES),
        mxfp6_matmul: bool = False,
        mxint8_kv_cache: bool = False,
        num_speculative_tokens: int | Sequence[int] | None = None,
        prefill_only: bool | None = None,
        use_onnx_subfunctions: bool = False,
        offload_pt_weights: bool = True,
        enable_chunking: bool = False,
        retain_full_kv: bool | None = None,
        moe_prefill_packed_chunk_size: int = 256,
        layerwise: bool = False,
        layerwise_window_size: int = 1,
        kv_cache_prefix: str | None = None,
        backend: str | None = None,
        compute: str | None = None,
        strict: bool = False,
        verify: str = "on",
        texts: Iterable[str] | None = None,
        limits: Limits | Mapping[str, float | None] | None = None,
        **compiler_options: Any,
    ) -> str:
        """Compiles the model, or finds the same program in the cache.

        What is left out depends on where it is to run. The host takes any number of prompts and any length, so it gets
        8 slots and the model's own limit, at most 2,048 positions. A card takes exactly what was compiled, so it gets
        the vendor's defaults: the plain form, 32 and 128. Whoever names a number gets it on both. How many bytes the
        caches take is told where somebody watches (stderr is a terminal, or a notebook), logged (INFO), and stands in
        ``device_report()["cache_bytes"]``. A program that is in use ends what it is writing.

        Args:
            onnx_path: What :meth:`export` gave; left out, the model is exported.
            compile_dir: Parent folder for a copy of the program; left out, it stays in the cache (``QEFF_HOME``).
            prefill_seq_len: Tokens of a prompt that are read at once. Left out: 32 on the card, up to 256 on the host.
                1: prompts are read by the entry that decodes.
            ctx_len: Positions of a slot: a prompt and its answer together. Left out: 128 on the card, the model's
                limit, at most 2,048, on the host.
            comp_ctx_lengths_prefill: Not built: anything but ``None`` is refused, as with all that follow this word.
            comp_ctx_lengths_decode: Not built.
            batch_size: Rows that are decoded at once, where no slots are compiled.
            full_batch_size: Rows that are decoded at once, where slots are; left out, 8. It asks for slots.
            kv_cache_batch_size: Slots, as many as ``full_batch_size`` or more; left out, as many. It asks for slots.
            num_devices: Devices (SoCs) that one program spans.
            num_cores: AI cores (NSP) of an instance on the card; the host ignores it.
            mxfp6_matmul: Store matrix-multiply weights as MXFP6 on the card.
            mxint8_kv_cache: Keep the caches as MXINT8 on the card.
            num_speculative_tokens: Tokens that may be proposed to the model at once: it then gives the logits of one
                more position in a step, and ``generate`` drafts so many out of the text so far (prompt look-up), unless
                ``prompt_lookup_num_tokens`` says otherwise. The tokens are the same. Left out, a card's program takes
                none; a host's takes up to 10, of calls that ask for them.
            prefill_only: True: only the entry for prompts; False: only the one that decodes; ``None``: both.
            use_onnx_subfunctions: Export repeated layers as ONNX functions and keep them on the card.
            offload_pt_weights: Torch's weights are dropped in any case, and read again when they are needed.
            enable_chunking: Not built: long prompts are read in chunks in any case.
            retain_full_kv: Not built.
            moe_prefill_packed_chunk_size: Not built.
            layerwise: Not built.
            layerwise_window_size: Not built.
            kv_cache_prefix: Not built.
            backend: ``"onnxruntime"``, ``"openvino"``, ``"qaic"``, ``"emulator"`` (its arithmetic on the host, with its
                defaults) or ``"auto"`` (the default; ``QEFF_BACKEND`` sets another).
            compute: Precision of the arithmetic; left out, the backend's default (fp32 on the host, fp16 on the card).
                On a host weights may have few bits: ``"int4_weights"``, ``"int8_weights"``, and with products in int8
                ``"int4_weights_int8"``, ``"int8_weights_int8"``. They write other texts; :meth:`quantize` says more.
            strict: On the host, run exactly the compiled shapes, as a card does.
            verify: ``"on"`` lets the program go on with built-in texts, and compares its logits and its tokens with
                those of HuggingFace in float32; a card's arithmetic is emulated for it, fp16 caches and all. ``"off"``
                is recorded.
            texts: Further texts to go on with; weights of 4 bits are rounded for them too.
            limits: What must hold in place of the defaults, for example ``{"min_label_agreement": 1.0}``: the share of
                HuggingFace's tokens that the program chooses too; see :class:`QEfficient.numerics.verify.Limits`.
            **compiler_options: The compiler's documented flags with underscores (``mos=1``); ``raw_compiler_flags=[…]``
                forces others.

        Returns:
            On the card the folder with ``programqpc.bin``; on the host the program's folder.

        Raises:
            OptionError: An unknown keyword, a value out of range, or numbers that do not go together.
            NotYetSupportedError: A keyword of the vendor's that is not built, or a model type that is not served yet.
            BackendUnavailableError: What was asked for can't be had here.
            CompileError: The compiler failed; its output is kept.
            VerificationError: The numbers are past a limit; no program is kept.
        """
        return self._compiled(locals(), compiler_options)
