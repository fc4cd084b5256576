"""A module of transformers with a head, as it is while it is trained: no files, no program, HuggingFace's tokenizer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from QEfficient.backends.base import Arrays
from QEfficient.evaluate.answers.runner import TORCH_ROWS, Floats
from QEfficient.text.tokenizer import Text

if TYPE_CHECKING:
    from torch import nn


class ModuleRunner:
    """What a module says of texts, pairs of texts, or what its tokenizer made of words and questions.

    It neither changes the module's mode nor where it stands, and draws no random numbers. Gradients are the caller's
    to switch off.

    Args:
        module: For sequence or token classification, or question answering.
        tokenizer: HuggingFace's, a fast one.
        limit: Tokens after which a text is cut.
        lower_case: Whether texts are lower-cased before they are tokenised.
    """

    ran = "torch"
    gives_vectors = False

    def __init__(self, module: nn.Module, tokenizer: Any, limit: int, lower_case: bool = False) -> None:
        config: Any = module.config
        self.name = self.task = type(module).__name__
        self.labels = tuple(str(config.id2label[number]) for number in range(config.num_labels))
        self.limit = limit
        self.shortened = 0
        self._module, self._tokenizer, self._lower_case = module, tokenizer, lower_case

    def outputs(self, texts: Sequence[Text], prompt_name: str | None = None) -> Floats:
        """Scores of texts or pairs before any activation, ``(texts, labels)``. It has no prompts."""
        parts: list[tuple[str, str | None]] = [(text, None) if isinstance(text, str) else text for text in texts]
        if self._lower_case:
            parts = [(first.lower(), None if second is None else second.lower()) for first, second in parts]
        order = sorted(range(len(parts)), key=lambda row: sum(len(part or "") for part in parts[row]))
        found = np.empty((len(parts), len(self.labels)), np.float32)
        for start in range(0, len(order), TORCH_ROWS):
            rows = order[start : start + TORCH_ROWS]
            first, second = zip(*(parts[row] for row in rows), strict=True)
            read = self._tokenizer(
                list(first),
                None if second[0] is None else list(second),
                truncation="longest_first",
                max_length=self.limit,
                padding=True,
                return_tensors="np",
            )
            found[rows] = self.arrays(read)["logits"]
        return found

    def processor(self, kind: str) -> Any:
        """The tokenizer, whatever is asked for."""
        return self._tokenizer

    def arrays(self, inputs: Mapping[str, Any]) -> Arrays:
        """Every output for what the tokenizer made, a few rows at a time."""
        import torch

        device = next(self._module.parameters()).device
        tensors = {name: torch.as_tensor(inputs[name], device=device) for name in inputs}
        parts = []
        for start in range(0, len(inputs["input_ids"]), TORCH_ROWS):
            batch = {name: tensor[start : start + TORCH_ROWS] for name, tensor in tensors.items()}
            parts.append(self._module(**batch))
        names = [name for name in ("logits", "start_logits", "end_logits") if name in parts[0]]
        return {name: torch.cat([part[name] for part in parts]).float().cpu().numpy() for name in names}
