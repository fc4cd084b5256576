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
    """What a module says of texts, pairs of texts, or what its processor made of words, images or clips.

    It neither changes the module's mode nor where it stands, and draws no random numbers. Gradients are the caller's
    to switch off.

    Args:
        module: A model with a head.
        processor: HuggingFace's: a fast tokenizer, an image processor, a feature extractor, or what has a
            ``tokenizer`` and a ``feature_extractor``.
        limit: Tokens after which a text is cut.
        lower_case: Whether texts are lower-cased before they are tokenised.
        choices: Whether it takes ``(rows, choices, length)``. Each text is given to it as the only choice of a row.
    """

    ran = "torch"
    gives_vectors = False

    def __init__(
        self, module: nn.Module, processor: Any, limit: int, lower_case: bool = False, choices: bool = False
    ) -> None:
        config: Any = module.config
        self.name = self.task = type(module).__name__
        self.labels = tuple(str(config.id2label[number]) for number in range(config.num_labels))
        self.limit = limit
        self.shortened = 0
        self._module, self._processor, self._lower_case, self._choices = module, processor, lower_case, choices

    def outputs(self, texts: Sequence[Text], prompt_name: str | None = None) -> Floats:
        """Scores of texts or pairs before any activation, ``(texts, labels)``. It has no prompts."""
        parts: list[tuple[str, str | None]] = [(text, None) if isinstance(text, str) else text for text in texts]
        if self._lower_case:
            parts = [(first.lower(), None if second is None else second.lower()) for first, second in parts]
        order = sorted(range(len(parts)), key=lambda row: sum(len(part or "") for part in parts[row]))
        found = np.empty((len(parts), 1 if self._choices else len(self.labels)), np.float32)
        for start in range(0, len(order), TORCH_ROWS):
            rows = order[start : start + TORCH_ROWS]
            first, second = zip(*(parts[row] for row in rows), strict=True)
            read = self._processor(
                list(first),
                None if second[0] is None else list(second),
                truncation="longest_first",
                max_length=self.limit,
                padding=True,
                padding_side="right",  # as programs have it: filling on the left would move positions
                return_tensors="np",
            )
            if self._choices:
                read = {name: array[:, None] for name, array in read.items()}
            found[rows] = self.arrays(read)["logits"]
        return found

    def processor(self, kind: str) -> Any:
        """What reads inputs: the part of that kind, where the processor has several.

        Args:
            kind: As :class:`~QEfficient.evaluate.answers.runner.SubjectRunner` has it.
        """
        return getattr(self._processor, _PARTS.get(kind, ""), self._processor)

    def arrays(self, inputs: Mapping[str, Any]) -> Arrays:
        """Every output for what a processor made, a few rows at a time.

        Args:
            inputs: Arrays with all rows, or lists with an array a row: clips of any length, which go one by one. What
                lies beyond a row's last frame is 0 then.
        """
        import torch

        device = next(self._module.parameters()).device
        first = next(iter(inputs.values()))
        size = 1 if isinstance(first, list) else TORCH_ROWS
        parts = []
        for start in range(0, len(first), size):
            batch = {name: np.asarray(inputs[name][start : start + size]) for name in inputs}
            parts.append(self._module(**{name: torch.as_tensor(batch[name], device=device) for name in batch}))
        names = [name for name in ("logits", "start_logits", "end_logits") if name in parts[0]]
        return {name: _joined([part[name].float().cpu().numpy() for part in parts]) for name in names}


_PARTS = {"AutoTokenizer": "tokenizer", "AutoFeatureExtractor": "feature_extractor"}
"""Kind of reader → where a processor of several keeps it."""


def _joined(parts: Sequence[Floats]) -> Floats:
    """Batches below each other, those with fewer frames filled up with 0."""
    if parts[0].ndim < 3:
        return np.concatenate(parts)
    frames = max(part.shape[1] for part in parts)
    return np.concatenate([np.pad(part, ((0, 0), (0, frames - part.shape[1]), (0, 0))) for part in parts])
