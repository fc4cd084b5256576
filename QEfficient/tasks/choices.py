"""The task whose models take several texts a row and score each of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from QEfficient.tasks.task import Task

if TYPE_CHECKING:
    from torch import Tensor, nn

    from QEfficient.pytorch_transforms.embedding import GraphModule, MaskKind
    from QEfficient.pytorch_transforms.head import HeadModule


@dataclass(frozen=True, slots=True)
class Choices(Task):
    """HuggingFace's model takes ``(rows, choices, length)``; in the graph each choice is a row of its own."""

    reads_texts: ClassVar[bool] = False

    def mask(self, kind: MaskKind) -> MaskKind:
        """The model's own: it folds choices into rows before it makes its mask."""
        return "own"

    def traced(self, part: nn.Module, inputs: Sequence[str], mask: MaskKind, head: HeadModule | None) -> GraphModule:
        """As in the base class, one choice a row."""
        from QEfficient.pytorch_transforms.embedding import TaskModule

        return TaskModule(part, self.outputs, inputs, mask, choices=True)

    def reference(self, model: nn.Module, arrays: dict[str, Tensor], head: HeadModule | None) -> dict[str, Tensor]:
        """As in the base class, one choice a row."""
        from QEfficient.pytorch_transforms.embedding import one_choice

        return Task.reference(self, model, one_choice(arrays), head)
