"""``quantize`` of every Auto class."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

from QEfficient.auto.vocabulary import VocabularyPruning

if TYPE_CHECKING:
    from QEfficient.numerics.verify import Limits


class Quantizing(VocabularyPruning):
    """Makes the model's numbers smaller."""

    def quantize(
        self,
        to: str,
        *,
        texts: object = None,
        eval: object = None,
        task: str | None = None,
        columns: Mapping[str, str | Sequence[str] | None] | None = None,
        backend: str | None = None,
        limits: Limits | Mapping[str, float | None] | None = None,
        max_drop: Mapping[str, float] | None = None,
        score: Callable[[Any], float] | None = None,
        **compile_options: Any,
    ) -> Self:
        """Compiles the model to smaller numbers, measures what that costs, and gives it as another object.

        - ``"int8"``: matrix products of numbers in int8, on the host: the fastest. Ranges come from ``texts``.
        - ``"int8_weights"``: weights and the word table in 8 bits: nearly the same numbers, in a quarter of the bytes.
          With OpenVINO it is faster too, where the CPU has VNNI; with onnxruntime it saves bytes on disk and no time.
        - ``"int4_weights"``: weights in 4 bits: for large models. Small ones lose too much, and are refused.
        - ``"mxfp6"``: as the card stores matrices with ``mxfp6_matmul``, emulated on the host: a preview of its
          numbers, not of its speed. ``compile(backend="qaic")`` of what is given compiles it for the card.

        This object and its program stay as they are. What is given is compiled; ``compile`` of it does the same again,
        for other lengths or another backend. :attr:`compressed`, ``device_report()`` and the manifest tell what was
        done and measured.

        Args:
            to: One of these.
            texts: Texts such as the model will be given: ``"int8"`` is calibrated on them, and every form is verified
                on them, besides the built-in ones.
            eval: Held-out rows with answers: the metrics of ``evaluate`` are measured on them before and after.
            task: What they are for; left out, the model's class and their columns tell it.
            columns: Role → column, where they are called otherwise than people call them.
            backend: As :meth:`compile` takes it; ``"mxfp6"`` is measured on ``"emulator"`` when it is left out.
            limits: What the vectors or scores must hold against HuggingFace in float32, in place of the form's
                defaults.
            max_drop: How much each metric may get worse: ``{"accuracy": 0.01}``; ``{"score": …}`` for that of
                ``score``.
            score: In place of the metrics: asked about a compiled model of this class, it gives a number of which more
                is better.
            **compile_options: Further keywords of :meth:`compile`, such as ``seq_len``.

        Returns:
            Another object of this class.

        Raises:
            CompressionRefusedError: A metric gets worse by more than ``max_drop`` allows. Nothing is kept.
            VerificationError: A limit does not hold. Nothing is kept.
            InputError: Texts or rows that can't be used.
            OptionError: A limit that is none, or for a metric that is not measured; a ``score`` that gives no number;
                a precision or backend that is not that of the form.
            UsageError: A form that is unknown, a saved program, or a model that is quantized already.
        """
        from QEfficient.auto.compression.quantizing import QuantizeArgs, quantize

        args = QuantizeArgs(to, texts, eval, task, columns, backend, limits, max_drop, score, compile_options)
        return quantize(self, args)  # type: ignore[type-var]
