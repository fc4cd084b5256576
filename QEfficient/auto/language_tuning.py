"""``fine_tune`` of the Auto classes whose models write text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from QEfficient.auto.causal_road import CausalRoad

if TYPE_CHECKING:
    from QEfficient.train.record import Trained


class LanguageTuning(CausalRoad):
    """Trains the model further."""

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
        """Trains the model to go on as rows do; afterwards it has the new weights.

        Rows are texts (``text``: every token is learnt), prompts with ``completion`` (only the completion's are), or
        chats (``messages``: only the assistant's are).

        A copy is trained, on transformers' trainer, and written as an ordinary repo into ``output_dir/model``: that is
        what the object is from then on, so keep the folder. The program that was compiled before is retired: call
        ``compile`` again. With ``lora=…`` adapters are trained in place of the weights, and merged into them.

        A Ctrl-C keeps the last checkpoint; the same call with ``resume=True`` goes on from it.

        Args:
            train: The rows: a data set, a data frame, a mapping from columns to values, a list of mappings, of strings
                or of pairs, or the path of a JSONL, CSV or parquet file.
            eval: Held-out rows likewise: the mean loss of their tokens is measured before and after; its exponential
                is the perplexity.
            columns: Role → name of its column, where it has another: ``{"prompt": "question"}``.
            tokenizer: HuggingFace's, of a model that was handed in as a module.
            score: Asked about HuggingFace's module, before and after; it may let it generate.
            **keywords: How to train, as :class:`QEfficient.train.request.TrainRequest` lists them: ``epochs``,
                ``batch_size``, ``learning_rate``, ``lora``, ``early_stopping``, ``output_dir``, ``resume``, ….

        Returns:
            What came of it: the module, what it was trained on, how, and the losses.

        Raises:
            MissingExtraError: The extra ``train`` is not installed.
            InputError: The rows do not fit. Nothing was trained.
            OptionError: A keyword is unknown, out of range, or not one of language models.
            UsageError: A saved program, which has no weights to train; or a model in memory without its tokenizer.
        """
        from QEfficient.auto.language_training import fine_tune_language

        return fine_tune_language(self, (train, eval), columns, tokenizer, score, keywords)
