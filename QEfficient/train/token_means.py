"""A held-out loss that is a mean over labelled tokens, whatever batches the rows come in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from QEfficient.train.labelled import IGNORED, Feature


def with_token_means(trainer: type[Any]) -> type[Any]:
    """A trainer whose held-out loss counts each labelled token once; transformers' counts each row once.

    Args:
        trainer: One of transformers', of rows with a label a token.
    """

    class TokenMeans(trainer):  # type: ignore[misc]
        """See :func:`with_token_means`."""

        def evaluate(self, *args: Any, **keywords: Any) -> Any:
            """Counts the tokens once, and then asks about the rows."""
            self._tokens_per_row = _tokens_per_row(self.eval_dataset)
            return super().evaluate(*args, **keywords)

        def prediction_step(self, model: Any, inputs: Feature, *args: Any, **keywords: Any) -> tuple[Any, ...]:
            """A batch's loss, which counts once a row, weighted by how many tokens a row has in it."""
            labels = inputs["labels"]
            loss, *rest = super().prediction_step(model, inputs, *args, **keywords)
            tokens = self._get_num_items_in_batch([{"labels": labels}], self.args.device) / self.args.world_size
            return loss * tokens / len(labels) / self._tokens_per_row, *rest

        def evaluation_loop(self, *args: Any, **keywords: Any) -> Any:
            """Likewise of the last batch, which ``Seq2SeqTrainer`` counts as a full one."""
            self.gather_function = self.accelerator.gather_for_metrics
            return super().evaluation_loop(*args, **keywords)

    return TokenMeans


def _tokens_per_row(rows: Sequence[Feature]) -> float:
    """How many tokens of a row count, on average."""
    tokens: int = sum(label != IGNORED for row in rows for label in row["labels"])
    return tokens / len(rows)
