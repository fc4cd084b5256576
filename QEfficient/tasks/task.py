"""What tells one Auto class from another: its task."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Task:
    """A task of HuggingFace.

    Attributes:
        name: As ``transformers.pipeline`` calls it: ``"text-classification"``.
        auto_class: The class of transformers that loads its models.
        outputs: The graph's outputs. Of a head they are attributes of HuggingFace's own output, in its order.
        model_output: The class of ``transformers.modeling_outputs`` that a call returns.
        embeds: Whether the output is vectors, pooled or one a token; else it is scores.
        per_token: Whether a head gives scores for each token, or frame.
        choices: Whether HuggingFace's model takes ``(rows, choices, length)``.
    """

    name: str
    auto_class: str
    outputs: tuple[str, ...] = ("logits",)
    model_output: str = "SequenceClassifierOutput"
    embeds: bool = False
    per_token: bool = False
    choices: bool = False
