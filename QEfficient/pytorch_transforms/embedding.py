"""An encoder and a head as one module, whose forward is the graph that is exported."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from QEfficient.errors import ExportError

MaskKind = Literal["additive", "own"]
"""``additive``: the model takes a 4-D mask as it is. ``own``: it makes its mask from the caller's 0 and 1 itself."""

MASKED = -30000.0
"""Added to the logits of a padded token. It is inside fp16's range with room for logits up to ±35,000 beside it
(65504 is the end), and far below where softmax gives exactly 0 in fp16 and fp32 alike (about -17 and -104)."""

INPUTS = ("input_ids", "attention_mask", "token_type_ids")
"""What a graph may ask the caller for, in this order."""


def graph_inputs(model: nn.Module) -> tuple[str, ...]:
    """The inputs of a model's graph, from the signature of its own forward.

    ``token_type_ids`` is one of them when the signature has it and the config knows more than one type.

    Raises:
        ExportError: The model does not take token ids and a mask.
    """
    names = set(inspect.signature(model.forward).parameters)
    if not {"input_ids", "attention_mask"} <= names:
        raise ExportError(
            f"{type(model).__name__} does not take token ids with a mask.",
            got=", ".join(sorted(names)),
            allowed="a forward with input_ids and attention_mask",
            do="load a text encoder",
        )
    return INPUTS if _token_types(model) > 1 else INPUTS[:2]


def _token_types(model: nn.Module) -> int:
    """Size of the model's table of token types. Some have none and look types up among their words (GPT-2, XLM)."""
    if "token_type_ids" not in inspect.signature(model.forward).parameters:
        return 0
    return getattr(getattr(model, "config", None), "type_vocab_size", 0) or 0


def additive_mask(attention_mask: Tensor) -> Tensor:
    """A 0/1 mask of (batch, length) → what is added to the logits, (batch, 1, 1, length), finite and inside fp16."""
    return (1.0 - attention_mask[:, None, None, :].to(torch.float32)) * MASKED


class EmbeddingModule(nn.Module):
    """Token ids in, vectors out.

    Args:
        encoder: A text encoder whose output has ``last_hidden_state``, or is a tuple that starts with it.
        head: What stands behind it: called with the states and the caller's mask. Any module with that signature.
        inputs: The graph's inputs, as :func:`graph_inputs` gives them.
        mask: How the encoder takes its mask.
    """

    def __init__(self, encoder: nn.Module, head: nn.Module, inputs: Sequence[str], mask: MaskKind = "own") -> None:
        super().__init__()
        self.encoder, self.head = encoder, head
        self.inputs, self.mask = tuple(inputs), mask
        self._has_types = _token_types(encoder) > 0

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None) -> Tensor:
        """Integers of shape (batch, length) each → the head's result.

        Position ids are never asked for: the encoder counts them as transformers does.
        """
        given: dict[str, Any] = {"input_ids": input_ids}
        if self._has_types:  # one type: zeros, which spares the graph the model's own buffer
            given["token_type_ids"] = torch.zeros_like(input_ids) if token_type_ids is None else token_type_ids
        given["attention_mask"] = additive_mask(attention_mask) if self.mask == "additive" else attention_mask
        out = self.encoder(**given)
        states = out[0] if isinstance(out, tuple) else out.last_hidden_state
        vectors: Tensor = self.head(states, attention_mask)
        return vectors
