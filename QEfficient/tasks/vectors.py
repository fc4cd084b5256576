"""The task whose models give vectors: an encoder with a head of ours, or a model that pools and projects itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from QEfficient.architectures import Architecture
from QEfficient.tasks.task import Task

if TYPE_CHECKING:
    from torch import Tensor, nn

    from QEfficient.pytorch_transforms.embedding import GraphModule, MaskKind
    from QEfficient.pytorch_transforms.head import HeadModule


@dataclass(frozen=True, slots=True)
class Embedding(Task):
    """An encoder with a pooling head: one vector a row, or one a token."""

    scores: ClassVar[bool] = False
    pools: ClassVar[bool] = True
    by_last_column: ClassVar[bool] = False

    def giving(self, outputs: tuple[str, ...]) -> Task:
        """A :class:`Projection`: HuggingFace's model gives finished vectors."""
        return Projection(self.name, self.auto_class, outputs, self.model_output)

    def per_token(self, steps: Sequence[Mapping[str, Any]]) -> bool:
        """Without a head."""
        return not steps

    def part(self, model: nn.Module, architecture: Architecture) -> nn.Module:
        """The encoder."""
        return architecture.encoder_of(model)

    def traced(self, part: nn.Module, inputs: Sequence[str], mask: MaskKind, head: HeadModule | None) -> GraphModule:
        """The encoder with its head."""
        from QEfficient.pytorch_transforms.embedding import EmbeddingModule

        assert head is not None  # it may be one without steps
        return EmbeddingModule(part, head, inputs, mask)

    def reference(self, model: nn.Module, arrays: dict[str, Tensor], head: HeadModule | None) -> dict[str, Tensor]:
        """The encoder's states, with the head behind them."""
        from QEfficient.pytorch_transforms.embedding import POOLING_MASK, mask_of, places, states_of

        assert head is not None
        pooled = [arrays.pop(name) for name in (POOLING_MASK.name,) if name in arrays]
        states = states_of(model(**arrays), head.source)
        states = places(states) if len(head.steps) else states
        mask = mask_of(states, arrays.get("attention_mask"), model)
        return {self.outputs[0]: head(states, mask, *pooled)}


@dataclass(frozen=True, slots=True)
class Projection(Task):
    """Vectors that HuggingFace's model pools and projects itself: nothing of ours stands behind it."""

    scores: ClassVar[bool] = False
    projects: ClassVar[bool] = True
