"""``QEFFAutoModelForTokenClassification``: named entities and other labels for each token."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

from QEfficient.auto.base import QEFFTransformersBase
from QEfficient.tasks.catalogue import TOKEN_CLASSIFICATION

if TYPE_CHECKING:
    from QEfficient.train.record import Trained


class QEFFAutoModelForTokenClassification(QEFFTransformersBase):
    """Texts → scores for each token.

    ``generate`` gives ``{"logits": (rows, length, labels)}``, exactly 0.0 beyond a row's last real token.

    Args:
        model: A HuggingFace model of this task that is already loaded.
    """

    _task = TOKEN_CLASSIFICATION

    def fine_tune(
        self,
        train: object,
        eval: object = None,
        *,
        task: str | None = None,
        columns: Mapping[str, str | Sequence[str] | None] | None = None,
        tokenizer: Any = None,
        score: Callable[[Any], float] | None = None,
        **keywords: Any,
    ) -> Trained:
        """Trains the model on rows of texts with a label a word; afterwards it has the new weights.

        Load a model without a head, or with another one, with the number of labels: ``from_pretrained(name,
        num_labels=9)``. Names of labels are taken from the rows and stand in ``config`` afterwards.

        A copy is trained, on transformers' Trainer, and written as an ordinary repo into ``output_dir/model``: that
        is what the object is from then on, so keep the folder, or write the model to another with
        ``QEfficient.train.save.save_model``. The program that was compiled before is retired: call ``compile`` again.

        A Ctrl-C keeps the last checkpoint; the same call with ``resume=True`` goes on from it.

        Args:
            train: The rows: a data set, a data frame, a mapping from columns to values, a list of mappings, or the path
                of a JSONL, CSV or parquet file.
            eval: Held-out rows likewise, on which the loss is measured before and after.
            task: What the rows are for; left out, their columns tell it: ``"token-classification"``.
            columns: Role → name of its column, where it has another: ``{"tokens": "words", "tags": "ner"}``.
            tokenizer: HuggingFace's, of a model that was handed in as a module.
            score: Asked about the module before and after.
            **keywords: How to train, as :class:`QEfficient.train.request.TrainRequest` lists them: ``epochs``,
                ``batch_size``, ``learning_rate``, ``lora``, ``early_stopping``, ``output_dir``, ``resume``, ….

        Returns:
            What came of it: the module, what it was trained on, how, the losses, and what it scored before and after.

        Raises:
            MissingExtraError: The extra ``train`` is not installed.
            InputError: The rows or their labels do not fit. Nothing was trained.
            OptionError: A keyword is unknown or out of range.
            UsageError: A saved program, which has no weights to train; or a model in memory without its tokenizer.
        """
        from QEfficient.auto.training import fine_tune

        return fine_tune(self, (train, eval), task, columns, tokenizer, score, keywords)

    def distill(
        self,
        student: object = None,
        *,
        layers: int | Sequence[int] | None = None,
        data: object,
        eval: object = None,
        task: str | None = None,
        columns: Mapping[str, str | Sequence[str] | None] | None = None,
        tokenizer: Any = None,
        student_tokenizer: Any = None,
        score: Callable[[Any], float] | None = None,
        **keywords: Any,
    ) -> Self:
        """Trains a smaller model to give this one's scores of each token, and gives it.

        The loss is the Kullback-Leibler divergence of both models' probabilities at a ``temperature``;
        where labels are given, their cross-entropy makes up 1 - ``alpha`` of it.

        The student is written as an ordinary repo into ``output_dir/model``, from where the new object reads it: keep
        the folder. This object and its program stay as they are.

        A Ctrl-C keeps the last checkpoint; the same call with ``resume=True`` goes on from it.

        Args:
            student: A smaller model to train, of the same kind: an object of this class, a module of transformers, a
                hub id or a folder. A copy is trained. It has the same labels.
            layers: In place of it: how many of this model's layers the student begins with, evenly spread with the
                last among them, or which ones, counted from 0.
            data: Texts, or pairs of them: strings, or rows of any kind with a column of them.
            eval: Held-out texts likewise, on which the loss is measured before and after.
            task: What the rows are for, where their labels are to count too: ``"token-classification"``.
                Left out, only their texts are used.
            columns: Role (``"text"``, ``"pair"``) → name of its column, where it is none that people use.
            tokenizer: HuggingFace's, of a model that was handed in as a module.
            student_tokenizer: Of a student that is a module; left out, it reads as this model does.
            score: Asked about the module before and after.
            **keywords: How to distill, as :class:`QEfficient.train.distill_request.DistillRequest` lists them:
                ``temperature``, ``alpha``, ``epochs``, ``batch_size``, ``learning_rate``, ``seed``, ``early_stopping``,
                ``output_dir``, ``resume``, ….

        Returns:
            The student, not compiled yet.

        Raises:
            MissingExtraError: The extra ``train`` is not installed.
            InputError: There are no texts, or the student does not fit. Nothing was trained.
            OptionError: A keyword is unknown or out of range, or there are no such layers.
            UsageError: Both ``student`` and ``layers`` or neither, layers that can't be cut, a saved program, or a
                model in memory without its tokenizer.
        """
        from QEfficient.auto.distilling import Lesson, distill

        lesson = Lesson(student, layers, data, eval, task, columns, tokenizer, student_tokenizer, score)
        return distill(self, lesson, keywords)
