"""``distill`` of models with a head: one signature for scores of texts, of their tokens, and of answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

from QEfficient.auto.base import QEFFTransformersBase


class HeadDistilling(QEFFTransformersBase):
    """Trains a smaller model to give this one's scores."""

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
        """Trains a smaller model to give this one's scores, and gives it.

        The loss is the Kullback-Leibler divergence of both models' probabilities at a ``temperature``: of labels, of
        each token's labels, or of where an answer starts and ends; of a model with one output it is the squared error.
        Where labels or answers are given, their cross-entropy makes up 1 - ``alpha`` of it. Contexts of questions that
        are longer than the models read become several rows.

        The student is written as an ordinary repo into ``output_dir/model``, from where the new object reads it: keep
        the folder. This object and its program stay as they are.

        A Ctrl-C keeps the last checkpoint; the same call with ``resume=True`` goes on from it.

        Args:
            student: A smaller model to train, of the same kind: an object of this class, a module of transformers, a
                hub id or a folder. A copy is trained. It has the same labels; where there are scores a token, the same
                tokenizer too.
            layers: In place of it: how many of this model's layers the student begins with, evenly spread with the
                last among them, or which ones, counted from 0.
            data: Texts, or pairs of them: strings, or rows of any kind with a column of them. For question answering
                rows with a column of questions and one of contexts.
            eval: Held-out rows likewise, on which the loss is measured before and after; with ``task``, the metrics of
                ``evaluate`` too.
            task: What the rows are for, where their labels or answers are to count too: ``"text-classification"``,
                ``"multi-label"``, ``"regression"``, ``"token-classification"`` or ``"question-answering"``. Left out,
                only their texts are used.
            columns: Role (``"text"``, ``"pair"``; ``"question"``, ``"context"``) → name of its column, where it is none
                that people use.
            tokenizer: HuggingFace's, of a model that was handed in as a module.
            student_tokenizer: Of a student that is a module; left out, it reads as this model does.
            score: Asked about the module before and after, in place of those metrics.
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
