"""What tells one Auto class from another: its task. Here the plain one: a whole model that gives a row of scores.

A task says which part of a model becomes the graph, how that part is traced, and what HuggingFace's own model gives for
the same arrays. It takes modules and facts, and never asks where they come from. Nothing here imports torch before it
is given a module.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from QEfficient.architectures import Architecture

if TYPE_CHECKING:
    from torch import Tensor, nn

    from QEfficient.pytorch_transforms.embedding import GraphModule, MaskKind
    from QEfficient.pytorch_transforms.head import HeadModule


@dataclass(frozen=True, slots=True)
class Task:
    """A task of HuggingFace whose models give scores, one row of them for each row.

    Attributes:
        name: As ``transformers.pipeline`` calls it: ``"text-classification"``.
        auto_class: The class of transformers that loads its models.
        outputs: The graph's outputs. Of a head they are attributes of HuggingFace's own output, in its order.
        model_output: The class of ``transformers.modeling_outputs`` that a call returns.
    """

    name: str
    auto_class: str
    outputs: tuple[str, ...] = ("logits",)
    model_output: str = "SequenceClassifierOutput"

    scores: ClassVar[bool] = True
    """Whether outputs are compared as scores, the greatest among them, or else as vectors, by their direction."""
    pools: ClassVar[bool] = False
    """Whether a head of ours stands behind HuggingFace's model."""
    projects: ClassVar[bool] = False
    """Whether HuggingFace's model pools and projects itself."""
    reads_texts: ClassVar[bool] = True
    """Whether a row may be one text, as its tokenizer reads it."""
    by_last_column: ClassVar[bool] = True
    """Whether HuggingFace's model may take a row's scores from its last column, padding or not."""

    @property
    def class_name(self) -> str:
        """The public class of this task."""
        return f"QEFF{self.auto_class}"

    def giving(self, outputs: tuple[str, ...]) -> Task:
        """The same task of a model that gives these outputs in place of what its type is asked for."""
        return self

    def per_token(self, steps: Sequence[Mapping[str, Any]]) -> bool:
        """Whether the outputs have one entry a token, or frame, where rows have a length.

        Args:
            steps: What stands behind an encoder.
        """
        return False

    def part(self, model: nn.Module, architecture: Architecture) -> nn.Module:
        """What of HuggingFace's model is exported."""
        return model

    def mask(self, kind: MaskKind) -> MaskKind:
        """How the part takes its mask, where its architecture says ``kind``."""
        return kind

    def traced(self, part: nn.Module, inputs: Sequence[str], mask: MaskKind, head: HeadModule | None) -> GraphModule:
        """The module that is exported.

        Args:
            part: With its blocks swapped.
            inputs: Names of the inputs that it takes.
            mask: How it takes its mask.
            head: What stands behind an encoder.
        """
        from QEfficient.pytorch_transforms.embedding import TaskModule

        return TaskModule(part, self.outputs, inputs, mask)

    def reference(self, model: nn.Module, arrays: dict[str, Tensor], head: HeadModule | None) -> dict[str, Tensor]:
        """What HuggingFace's own model gives for a graph's inputs, by the names of the graph's outputs."""
        output = model(**arrays)
        return {name: getattr(output, name) for name in self.outputs}
