"""The road to a program of a model whose decoder writes about what its encoder has read.

``export`` and ``compile`` import what only they need: a saved program starts without it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from QEfficient.arguments import Unset
from QEfficient.auto.decoder_road import DecoderRoad
from QEfficient.build.request import CORES
from QEfficient.source.recipe import verify_mode

if TYPE_CHECKING:
    from QEfficient.build.decoder_sizes import Sizes
    from QEfficient.numerics.verify import Limits


class Seq2SeqRoad(DecoderRoad):
    """What a model has whose program reads sources and writes about them: its export and compile."""

    _of_saved: ClassVar[str] = "generate, translate, summarize, save_pretrained, config, device_report"

    def export(
        self,
        export_dir: str | Path | None = None,
        *,
        use_onnx_subfunctions: bool = False,
        offload_pt_weights: bool = True,
        verify: str = "on",
    ) -> str:
        """Exports the model to ONNX, or finds the same export in the cache.

        One graph reads sources and decodes, whatever lengths, rows and slots it is compiled for later. A model that was
        loaded with ``continuous_batching=False`` gives the vendor's plain graph, without ``batch_index``.

        Args:
            export_dir: Parent folder for a copy; left out, the graph stays in the cache (``QEFF_HOME``).
            use_onnx_subfunctions: Write repeated layers as ONNX functions; cache updates are functions in any case.
            offload_pt_weights: Torch's weights are dropped in any case, and read again when they are needed.
            verify: ``"on"`` checks the graph's numbers against HuggingFace float32; ``"off"`` is recorded.

        Returns:
            Path of the ``.onnx`` file; external data stands beside it.

        Raises:
            NotYetSupportedError: A model type that does not write about a source here yet.
            ExportError: The exporter refused the model.
            NumericsError: The weights hold NaN or Inf, or the graph differs from HuggingFace.
        """
        from QEfficient.tasks.text2text_generation import SourceForm

        recipe = self._recipe(use_onnx_subfunctions, verify_mode(verify))
        return self._exported(recipe, SourceForm(self._continuous is not False), export_dir)

    def compile(
        self,
        onnx_path: str | Path | None = None,
        compile_dir: str | Path | None = None,
        *,
        prefill_seq_len: int = Unset(1),
        encoder_ctx_len: int | None = None,
        ctx_len: int = Unset(150),
        full_batch_size: int | None = None,
        kv_cache_batch_size: int | None = None,
        batch_size: int = Unset(1),
        num_devices: int = 1,
        num_cores: int = Unset(CORES),
        mxfp6_matmul: bool = False,
        mxint8_kv_cache: bool = False,
        num_speculative_tokens: int | None = None,
        use_onnx_subfunctions: bool = False,
        offload_pt_weights: bool = True,
        backend: str | None = None,
        compute: str | None = None,
        strict: bool = False,
        verify: str = "on",
        texts: Iterable[str] | None = None,
        limits: Limits | Mapping[str, float | None] | None = None,
        **compiler_options: Any,
    ) -> str:
        """Compiles the model, or finds the same program in the cache.

        The program has two entries: one reads a source with the decoder's first token, the other decodes. What is left
        out depends on where it is to run. The host takes any number of sources and any length, so it gets 8 slots, and
        512 positions, or the model's limit, for an answer. A card takes exactly what was compiled, so it gets the
        vendor's defaults: the plain form, and 150. How many bytes the caches take stands in
        ``device_report()["cache_bytes"]``. A program that is in use ends what it is writing.

        Args:
            onnx_path: What :meth:`export` gave; left out, the model is exported.
            compile_dir: Parent folder for a copy of the program; left out, it stays in the cache (``QEFF_HOME``).
            prefill_seq_len: Tokens that a decoder may begin with, read at once. Left out: 1 on the card, up to 256 on
                the host. More of them are read in several runs.
            encoder_ctx_len: Positions of a slot's cross caches: the longest source, one less where no slots are
                compiled. Left out: the model's limit, at most 512.
            ctx_len: Positions of a slot: what the decoder begins with and its answer together.
            full_batch_size: Rows that are decoded at once, where slots are; left out, 8. It asks for slots.
            kv_cache_batch_size: Slots, as many as ``full_batch_size`` or more; left out, as many. It asks for slots.
            batch_size: Rows that are decoded at once, where no slots are compiled.
            num_devices: Devices (SoCs) that one program spans.
            num_cores: AI cores (NSP) of an instance on the card; the host ignores it.
            mxfp6_matmul: Store matrix-multiply weights as MXFP6 on the card.
            mxint8_kv_cache: Keep the caches as MXINT8 on the card.
            num_speculative_tokens: Not built: anything but ``None`` is refused.
            use_onnx_subfunctions: Export repeated layers as ONNX functions and keep them on the card.
            offload_pt_weights: Torch's weights are dropped in any case, and read again when they are needed.
            backend: As ``QEFFAutoModelForCausalLM.compile`` takes it, as all that follow.
            compute: Likewise.
            strict: Likewise.
            verify: Likewise: ``"on"`` lets the program write about built-in texts, and compares its logits and its
                tokens with those of HuggingFace in float32.
            texts: Further texts to write about.
            limits: Likewise.
            **compiler_options: Likewise.

        Returns:
            On the card the folder with ``programqpc.bin``; on the host the program's folder.

        Raises:
            OptionError: An unknown keyword, a value out of range, or numbers that do not go together.
            NotYetSupportedError: A keyword that is not built, or a model type that is not served yet.
            BackendUnavailableError: What was asked for can't be had here.
            CompileError: The compiler failed; its output is kept.
            VerificationError: The numbers are past a limit; no program is kept.
        """
        return self._compiled(locals(), compiler_options)

    def _sizes(self) -> Sizes:
        from QEfficient.build.seq2seq_sizes import seq2seq_facts

        return seq2seq_facts
