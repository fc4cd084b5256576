"""A model as it is measured while it is made smaller: in torch, by a score of the caller's or of held-out rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from QEfficient.auto.compression.guarding import as_number, drops_of
from QEfficient.compress.guard import SCORE, Drop
from QEfficient.evaluate.record import Examples, Outcome
from QEfficient.export.isolated import isolated

if TYPE_CHECKING:
    from QEfficient.train.run import Score
    from QEfficient.train.sentence_model import SentenceHead
    from QEfficient.train.teacher import ModelWithTokenizer

Answer = float | Outcome | None
"""What a score says; ``None`` where there is none to ask."""


@dataclass(frozen=True, slots=True)
class MeasuredModel:
    """A module in memory, with all that it takes to ask it.

    Attributes:
        model: The module, with what reads for it.
        head: What stands behind an embedding model; ``None`` for a model with a head.
    """

    model: ModelWithTokenizer
    head: SentenceHead | None

    def wrapper(self) -> Any:
        """The ``SentenceTransformer`` around it; ``None`` for a model with a head."""
        from QEfficient.train.sentence_model import sentence_transformer

        if self.head is None:
            return None
        return sentence_transformer(self.model.module, self.model.tokenizer, self.head)

    def score_of(self, held_out: Examples | None) -> Score | None:
        """What asks a model like this about held-out rows; ``None`` where they hold nothing right or wrong for it."""
        from QEfficient.train.scores import held_out_score

        model = self.model
        return held_out_score(held_out, model.tokenizer, model.text, vectors=self.head is not None)

    @isolated
    def asked(self, score: Score | None, wrapper: Any = None) -> Answer:
        """What a score says of it.

        Args:
            score: As the room ``train`` takes it.
            wrapper: What was trained around the module; ``None``: what :meth:`wrapper` gives.
        """
        from QEfficient.train.teacher import asked

        if score is None:
            return None
        wrapper = self.wrapper() if wrapper is None else wrapper
        thing = self.model.module if wrapper is None else wrapper
        with asked(thing):
            found = score(thing)
        return found if isinstance(found, Outcome) else as_number(found)


def drops_between(before: Answer, after: Answer) -> tuple[Drop, ...]:
    """What a guard looks at: two answers of the same score."""
    from QEfficient.train.scores import changes

    if isinstance(before, Outcome) and isinstance(after, Outcome):
        return drops_of(changes(before, after))
    if isinstance(before, float | int) and isinstance(after, float | int):
        return (Drop(SCORE, float(before), float(after)),)
    return ()
