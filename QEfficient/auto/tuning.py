"""``fine_tune`` of every Auto class: one signature, whatever the rows are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from QEfficient.auto.quantizing import Quantizing

if TYPE_CHECKING:
    from QEfficient.train.record import Trained


class FineTuning(Quantizing):
    """Trains the model further."""

    def fine_tune(
        self,
        train: object,
        eval: object = None,
        *,
        task: str | None = None,
        columns: Mapping[str, str | Sequence[str] | None] | None = None,
        tokenizer: Any = None,
        processor: Any = None,
        score: Callable[[Any], float] | None = None,
        **keywords: Any,
    ) -> Trained:
        """Trains the model on rows; afterwards it has the new weights.

        What it learns, and the columns of its rows, depend on its class:

        - ``QEFFAutoModel``: vectors, from ``"similarity"`` (two texts and a score; CoSENTLoss), ``"retrieval"`` (a
          query and a document), ``"reranking"`` (a query with documents, some relevant; both
          MultipleNegativesRankingLoss) or ``"text-classification"`` (texts with labels; BatchAllTripletLoss). ``loss``
          names another. What stands behind the encoder is trained too.
        - ``…ForSequenceClassification``: ``"text-classification"``, ``"multi-label"``, ``"regression"``, or
          ``"reranking"`` (a query with graded documents), of texts or pairs of texts.
        - ``…ForTokenClassification``: words (``tokens``) and a label each (``tags``).
        - ``…ForQuestionAnswering``: ``question``, ``context``, ``answers``; an answer is a part of its context, and
          contexts that are longer than the model reads become several rows.
        - ``…ForMaskedLM``: plain texts, of which 15 % of the tokens are hidden anew in each epoch (of these 80 % by the
          mask and 10 % by any token); or ``text`` with one mask and the word behind it (``target``).
        - ``…ForMultipleChoice``: ``prompt``, ``choices``, and the position of the right one (``label``); as many
          choices in each row.
        - ``…ForImageClassification``: ``image`` (PIL, arrays or paths) and ``label``.
        - ``…ForAudioClassification``: ``audio`` (samples or paths) and ``label``.
        - ``…ForCTC``: ``audio`` and what is said in it (``text``), in letters that the tokenizer has.

        Load a model without a head of its task, or with another one, with the number of labels:
        ``from_pretrained(name, num_labels=3)``. Names of labels are taken from the rows and stand in ``config``
        afterwards.

        A copy is trained, on the trainers of transformers and sentence-transformers, and written as an ordinary repo
        into ``output_dir/model``: that is what the object is from then on, so keep the folder, or write the model to
        another with ``QEfficient.train.save.save_model``. The program that was compiled before is retired: call
        ``compile`` again.

        A Ctrl-C keeps the last checkpoint; the same call with ``resume=True`` goes on from it.

        Args:
            train: The rows: a data set, a data frame, a mapping from columns to values, a list of mappings, or the path
                of a JSONL, CSV or parquet file. Of plain texts also a list of strings.
            eval: Held-out rows likewise: loss and the metrics of ``evaluate`` are measured on them before and after.
            task: What the rows are for; left out, the model's class and their columns tell it. An embedding model needs
                ``task="text-classification"`` for texts with labels.
            columns: Role → name of its column, where it has another: ``{"text": "review", "label": "stars"}``.
            tokenizer: HuggingFace's, of a model of texts that was handed in as a module.
            processor: Likewise of images or clips: an image processor, a feature extractor, or for speech recognition a
                processor with a ``feature_extractor`` and a ``tokenizer``.
            score: Asked about the model as it is trained, before and after, in place of those metrics: HuggingFace's
                module, a ``SentenceTransformer`` or a ``CrossEncoder``.
            **keywords: How to train, as :class:`QEfficient.train.request.TrainRequest` lists them: ``epochs``,
                ``batch_size``, ``learning_rate``, ``lora``, ``early_stopping``, ``output_dir``, ``resume``, ….

        Returns:
            What came of it: the module, what it was trained on, how, the losses, and what it scored before and after.

        Raises:
            MissingExtraError: The extra ``train`` is not installed.
            InputError: The rows or their labels do not fit. Nothing was trained.
            OptionError: A keyword is unknown or out of range.
            UsageError: A saved program, which has no weights to train; or a model in memory without its tokenizer or
                processor.
        """
        from QEfficient.auto.training import fine_tune

        return fine_tune(self, (train, eval), task, columns, (tokenizer, processor), score, keywords)
