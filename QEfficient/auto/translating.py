"""What an Auto object of a model that reads one text and writes another is called for beside ``generate``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from QEfficient.auto.seq2seq_generating import Seq2SeqGenerating
from QEfficient.generation.translating import SourceTexts

if TYPE_CHECKING:
    from QEfficient.train.record import Trained


class Translating(Seq2SeqGenerating):
    """Translates and summarises texts with the compiled program, and trains the model further."""

    def translate(
        self,
        texts: str | Iterable[str],
        source: str | None = None,
        target: str | None = None,
        *,
        overlong: Literal["error", "split"] = "error",
        prefix: str | None = None,
        show_progress: bool | None = None,
        **kwargs: Any,
    ) -> Any:
        """Translates texts.

        How the languages are told to the model is the model's business: a code before the text (Marian of several
        languages), a token beside it and a first token to write (mBART, M2M100, NLLB), a sentence before it (T5).

        Args:
            texts: One text, or any number of them. One without a word stays empty.
            source: The language of the texts, by the name that the model has for it (``"en"``, ``"eng_Latn"``,
                ``"en_XX"``); left out, the model's own.
            target: The language to write, likewise. Where a Marian model is told so, texts may begin with it in its
                place: ``">>deu<< Hello"``.
            overlong: What becomes of a text that is longer than the program reads at once (``encoder_ctx_len``):
                ``"error"`` refuses it, ``"split"`` cuts it into runs of whole sentences, and joins their translations
                with spaces.
            prefix: What stands before each text, and before each part of one; left out, what the repo has for the
                task (``task_specific_params`` of its config).
            show_progress: Draw a bar; left out: for 512 texts or more, to a terminal or notebook.
            **kwargs: As :meth:`generate` takes them (``num_beams``, ``max_new_tokens``, ``seed``, ``device_ids``, …).
                Without a length the repo's holds, else as much is written as fits.

        Returns:
            The translation; of a list a list, in order.

        Raises:
            UsageError: A language that the model does not know (all that it knows are listed), or none where it has
                several; or a keyword that does not fit.
            LoadError: The program takes ids only: its tokenizer has no form that works without transformers.
            InputError: A text is too long; nothing was run.
            DeviceError: The device failed.
        """
        call = SourceTexts(self._need_loaded(), kwargs, overlong=overlong, prefix=prefix, show_progress=show_progress)
        return call.translate(texts, source, target)

    def summarize(
        self,
        texts: str | Iterable[str],
        *,
        language: str | None = None,
        overlong: Literal["error", "split"] = "error",
        prefix: str | None = None,
        show_progress: bool | None = None,
        **kwargs: Any,
    ) -> Any:
        """Summarises texts.

        Args:
            texts: One text, or any number of them.
            language: Their language, where the model has several; left out, the model's own.
            overlong: As :meth:`translate`; the summaries of the parts are joined.
            prefix: As :meth:`translate`.
            show_progress: As :meth:`translate`.
            **kwargs: As :meth:`generate` takes them; they go before what the repo has for this task.

        Returns:
            The summary; of a list a list, in order.

        Raises:
            UsageError: As :meth:`translate`.
            LoadError: As :meth:`translate`.
            InputError: A text is too long; nothing was run.
            DeviceError: The device failed.
        """
        call = SourceTexts(self._need_loaded(), kwargs, overlong=overlong, prefix=prefix, show_progress=show_progress)
        return call.summarize(texts, language)

    def fine_tune(
        self,
        train: object,
        eval: object = None,
        *,
        columns: Mapping[str, str | Sequence[str] | None] | None = None,
        tokenizer: Any = None,
        score: Callable[[Any], float] | None = None,
        **keywords: Any,
    ) -> Trained:
        """Trains the model to write a target for each source; afterwards it has the new weights.

        A copy is trained, on transformers' trainer, and written as an ordinary repo into ``output_dir/model``: that is
        what the object is from then on, so keep the folder. The program that was compiled before is retired: call
        ``compile`` again. With ``lora=…`` adapters are trained in place of the weights, and merged into them.

        A Ctrl-C keeps the last checkpoint; the same call with ``resume=True`` goes on from it.

        Args:
            train: Rows of ``source`` and ``target``: a data set, a data frame, a mapping from columns to values, a
                list of mappings or of pairs, or the path of a JSONL, CSV or parquet file.
            eval: Held-out rows likewise: the mean loss of their targets' tokens is measured before and after.
            columns: Role → name of its column, where it has another: ``{"source": "english", "target": "german"}``.
            tokenizer: HuggingFace's, of a model that was handed in as a module; or one with ``src_lang`` and
                ``tgt_lang`` set to the languages of the rows.
            score: Asked about HuggingFace's module, before and after; it may let it generate.
            **keywords: How to train, as :class:`QEfficient.train.request.TrainRequest` lists them: ``epochs``,
                ``batch_size``, ``learning_rate``, ``prompts`` (what stands before every source), ``lora``,
                ``output_dir``, ``resume``, ….

        Returns:
            What came of it: the module, what it was trained on, how, and the losses.

        Raises:
            MissingExtraError: The extra ``train`` is not installed.
            InputError: The rows do not fit. Nothing was trained.
            OptionError: A keyword is unknown, out of range, or not one of such models.
            UsageError: A saved program, which has no weights to train; or a model in memory without its tokenizer.
        """
        from QEfficient.auto.language_training import fine_tune_language

        return fine_tune_language(self, (train, eval), columns, tokenizer, score, keywords)
