"""The ``pooling`` argument → the steps behind the encoder. No torch: a warm cache needs the steps for its key only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from QEfficient.errors import PoolingError, nearest
from QEfficient.pytorch_transforms.pooling import MODES, POOLER, SIGNATURE, callable_name
from QEfficient.records import Json

if TYPE_CHECKING:
    import torch

    from QEfficient.sentence_repo import SentenceRepo

PoolingFunction = Callable[["torch.Tensor", "torch.Tensor"], "torch.Tensor"]
PoolingArgument = str | PoolingFunction | None

ALIASES = {"avg": "mean"}
NAMES = (*sorted((*MODES, *ALIASES, POOLER)), "auto")
"""What a caller may write."""


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


def parse_head(pooling: PoolingArgument, repo: SentenceRepo | None = None) -> Head:
    """The head that a ``pooling`` argument names.

    Args:
        pooling: ``None`` (one vector a token), a name of :data:`NAMES`, or a callable
            ``(last_hidden_states, attention_mask) -> (batch, dim)``.
        repo: The sentence-transformers repo that ``"auto"`` reads.

    Raises:
        PoolingError: The name is unknown, it is neither a name nor a callable, or ``"auto"`` without a repo that says
            how to pool.
    """
    if pooling is None:
        return Head()
    if callable(pooling):
        return Head(({"step": "callable", "name": callable_name(pooling)},), pooling)
    mode = ALIASES.get(pooling, pooling) if isinstance(pooling, str) else None
    if mode == "auto" and repo is not None:
        return Head(repo.steps)
    if mode == POOLER:
        return Head(({"step": POOLER},))
    if mode in MODES:
        return Head(({"step": "pooling", "modes": [mode]},))
    what = f"This pooling is unknown here.{nearest(str(pooling), NAMES)}"
    do = "choose one of these; pooling='auto' reads the modules.json of a sentence-transformers repo"
    if mode is None:
        what, do = "Pooling is neither a name nor a callable.", "pass one of these names, or a function"
    elif mode == "auto":
        what = 'pooling="auto" reads modules.json, and this model has none.'
        do = 'name the pooling that the model was trained with, for example pooling="mean"'
    names = ", ".join(name for name in NAMES if name != pooling)
    raise PoolingError(what, got=pooling, allowed=f"{names}, None or a callable {SIGNATURE}", do=do)


def check_saved_pooling(pooling: PoolingArgument, steps: tuple[Mapping[str, Any], ...], name: str) -> None:
    """Refuses a ``pooling`` that differs from what a saved program does.

    Raises:
        PoolingError: It differs, or is a callable, which can't be compared.
    """
    if pooling is None or pooling == "auto":
        return
    wanted = parse_head(pooling)
    if wanted.function is not None or [dict(s) for s in wanted.steps] != [dict(s) for s in steps]:
        raise PoolingError(
            f"The saved program {name!r} pools in its own way, which can't be changed after compiling.",
            got=f"pooling={pooling!r}",
            allowed=f"leave pooling out; the program does {[dict(s) for s in steps] or 'no pooling'}",
            do="load the original model with this pooling and compile it again",
        )
