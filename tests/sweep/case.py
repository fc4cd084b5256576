"""What the sweep is told about one model type: a tiny config, and what differs from the rest of its kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor, nn

Kind = Literal["text encoder", "text decoder", "encoder half", "vision", "audio", "text and vision"]
Inputs = dict[str, Tensor]

LIMIT = 24
"""Most tokens that a row of a tiny text model can have, where its positions are absolute."""

VOCAB = 97

ROUTED = (0.9, 0.4)
"""Limits on the card, where a router that is undecided between two experts may take the other one."""

Shape = tuple[int, int, str]
"""Rows, length of the longest, and its padding: "none", "left" or "right"."""

SHAPES: tuple[Shape, ...] = (
    (2, LIMIT, "right"),  # the longest first: a model may work otherwise on long rows
    (3, 7, "left"),
    (3, 7, "none"),
    (1, 1, "none"),
)


def last_hidden_state(model: nn.Module, inputs: Inputs) -> tuple[Tensor, ...]:
    """A plain call of HuggingFace's model."""
    return (model(**inputs)[0],)


@dataclass(frozen=True)
class Case:
    """One tiny model of the sweep.

    Attributes:
        model_type: As in ``config.json``.
        model_class: The class of transformers that ``AutoModel`` makes of it (or the half that is served).
        config: Arguments of its config class. A text model has :data:`VOCAB` words and takes :data:`LIMIT` tokens.
        kind: What it is, for the table of the docs.
        std: Standard deviation of every weight: at least 0.3. At 0.02 attention is all but uniform, and swapped
            queries and keys go unseen.
        shapes: Text only: the batches.
        inputs: Other inputs than token ids: makes the batches. ``None``: token ids of ``shapes``.
        call: HuggingFace's own result, one tensor an output: (rows, length, dim), (rows, …) where there is no length.
        real: A batch → which entries of the outputs' leading dims count. ``None``: the mask's ones, else all.
        prepare: Changes the random model before anything runs.
        pooling: As ``QEFFAutoModel`` takes it.
        fp16: Least cosine and largest difference on the card, whose fp16 is emulated; random weights this large lose
            more than trained ones.
        refused: Part of the reason, where the type (or this config of it) is refused by name.
        note: One sentence for the table of the docs.
        variant: Tells apart several cases of one type.
    """

    model_type: str
    model_class: str
    config: Mapping[str, Any] = field(default_factory=dict)
    kind: Kind = "text encoder"
    std: float = 0.5
    shapes: Sequence[Shape] = SHAPES
    inputs: Callable[[], Sequence[Inputs]] | None = None
    call: Callable[[nn.Module, Inputs], tuple[Tensor, ...]] = last_hidden_state
    real: Callable[[Inputs], Tensor] | None = None
    prepare: Callable[[nn.Module], None] | None = None
    pooling: str | None = None
    fp16: tuple[float, float] = (0.998, 0.04)
    refused: str = ""
    note: str = ""
    variant: str = ""

    @property
    def name(self) -> str:
        """Its id among the tests."""
        return f"{self.model_type}-{self.variant}" if self.variant else self.model_type
