"""The ``pooling`` argument → the steps behind the encoder. No torch: a warm cache needs the steps for its key only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from QEfficient.errors import PoolingError
from QEfficient.pytorch_transforms.pooling import MODES, POOLER, parse_pooling
from QEfficient.records import Json
from QEfficient.sentence_repo import SentenceRepo

if TYPE_CHECKING:
    import torch

PoolingFunction = Callable[["torch.Tensor", "torch.Tensor"], "torch.Tensor"]
PoolingArgument = str | PoolingFunction | None


@dataclass(frozen=True, slots=True)
class Head:
    """What follows the encoder.

    Attributes:
        steps: One JSON object a step, in order; empty for token embeddings. A callable is a step too.
        function: The caller's own pooling, which no step can describe.
    """

    steps: tuple[Mapping[str, Json], ...] = ()
    function: PoolingFunction | None = None

    @property
    def uses_pooler(self) -> bool:
        """Whether HuggingFace's own pooler stands before the steps."""
        return any(POOLER in (step["step"], *step.get("modes", ())) for step in self.steps)


def parse_head(pooling: PoolingArgument, repo: SentenceRepo | None) -> Head:
    """The head that a ``pooling`` argument names.

    Args:
        pooling: ``None``, a mode's name, ``"auto"``, or a callable ``(last_hidden_states, attention_mask)``.
        repo: The sentence-transformers repo that ``"auto"`` reads.

    Raises:
        PoolingError: The name is unknown, or ``"auto"`` without a repo that says how to pool.
    """
    if pooling == "auto":
        if repo is None:
            raise PoolingError(
                'pooling="auto" reads modules.json, and this model has none.',
                got="a model without modules.json",
                allowed=f"{', '.join(map(repr, MODES))}, a callable, or None",
                do='name the pooling that the model was trained with, for example pooling="mean"',
            )
        return Head(steps=repo.steps)
    return Head(steps=parse_pooling(pooling), function=pooling if callable(pooling) else None)


def check_saved_pooling(pooling: PoolingArgument, steps: tuple[Mapping[str, Any], ...], name: str) -> None:
    """Refuses a ``pooling`` that differs from what a saved program does.

    Raises:
        PoolingError: It differs, or is a callable, which can't be compared.
    """
    if pooling is None or pooling == "auto":
        return
    wanted = parse_head(pooling, None)
    if wanted.function is not None or [dict(s) for s in wanted.steps] != [dict(s) for s in steps]:
        raise PoolingError(
            f"The saved program {name!r} pools in its own way, which can't be changed after compiling.",
            got=f"pooling={pooling!r}",
            allowed=f"leave pooling out; the program does {[dict(s) for s in steps] or 'no pooling'}",
            do="load the original model with this pooling and compile it again",
        )
