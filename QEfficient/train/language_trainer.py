"""The trainer of language models: its loss is the mean over tokens, whatever batches they come in.

Some models of transformers, T5 and BART among them, take a mean over each batch. Its trainer (5.24) takes them for such
that divide by the tokens of the whole step: where gradients of several batches are added up, loss and gradients are as
many times too large.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from QEfficient.train.labelled import Feature
from QEfficient.train.losses import HeadLoss
from QEfficient.train.order import in_order
from QEfficient.train.run import with_whole_checkpoints
from QEfficient.train.token_means import with_token_means

if TYPE_CHECKING:
    from torch import nn

    from QEfficient.train.request import TrainRequest


@dataclass(frozen=True, slots=True)
class LanguageData:
    """What a trainer of language models is given beside the model.

    Attributes:
        causal: Whether the model writes on; else it reads a source and writes a target.
        rows: What it trains on.
        held_out: Those that are held out.
        collate: Features → a batch.
    """

    causal: bool
    rows: list[Feature]
    held_out: list[Feature] | None
    collate: Callable[[Sequence[Feature]], Feature]

    def trainer(self, request: TrainRequest, model: nn.Module, arguments: dict[str, Any], callbacks: list[Any]) -> Any:
        """A trainer, ready to go.

        Args:
            request: How to train.
            model: With its adapters.
            arguments: Keywords of ``TrainingArguments``.
            callbacks: What looks on.
        """
        import transformers

        kind = "" if self.causal else "Seq2Seq"
        settings = {"remove_unused_columns": False, "label_names": ["labels"], "prediction_loss_only": True}
        lengths = [len(row["input_ids"]) for row in self.rows]
        ordered = in_order(with_whole_checkpoints(getattr(transformers, f"{kind}Trainer")), lengths, request)
        return with_token_means(ordered)(
            model=model,
            args=getattr(transformers, f"{kind}TrainingArguments")(**arguments, **settings),
            train_dataset=self.rows,
            eval_dataset=self.held_out,
            data_collator=self.collate,
            compute_loss_func=token_loss(self.causal),
            callbacks=callbacks,
        )


def token_loss(causal: bool) -> HeadLoss:
    """Cross-entropy of the labels, summed and divided by how many count in the whole step, as transformers has it.

    Args:
        causal: The logits at a token are about the next one; else labels stand where their logits do.
    """
    from transformers.loss.loss_utils import ForCausalLMLoss, ForMaskedLMLoss

    cross_entropy = ForCausalLMLoss if causal else ForMaskedLMLoss

    def loss(outputs: Any, labels: Any, num_items_in_batch: Any = None) -> Any:
        logits = outputs.logits
        return cross_entropy(logits, labels, logits.shape[-1], num_items_in_batch=num_items_in_batch)

    return loss
