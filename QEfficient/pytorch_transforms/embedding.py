"""A HuggingFace model as one module, whose forward is the graph that is exported: an encoder with a head, or a task."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from QEfficient.errors import ExportError, PoolingError
from QEfficient.pytorch_transforms.forward import forward_by_name
from QEfficient.pytorch_transforms.speech import FRAME_MASK
from QEfficient.records import TensorSpec, TokenInput

MaskKind = Literal["additive", "own", "float"]
"""``additive``: the model takes a 4-D mask as it is. ``own``: it makes its mask from the caller's 0 and 1 itself.
``float``: so it does, from 0.0 and 1.0."""

MASKED = -30000.0
"""Added to the logits of a padded token. It is inside fp16's range with room for logits up to ±35,000 beside it
(65504 is the end), and far below where softmax gives exactly 0 in fp16 and fp32 alike (about -17 and -104)."""

POOLING_MASK = TensorSpec("pooling_mask", "int64", ("batch_size", "seq_len"))
"""Which tokens are pooled, where a head leaves out the prompt's: a graph input of the head, not of the model."""

_SIGNALS = {
    "pixel_values": ("images", "which size its images have"),
    "input_features": ("spectrograms", "which size its spectrograms have"),
    "input_values": ("sound", "how many samples make a frame, and whether a mask hides padding"),
}
"""Main input of a model that takes no token ids → what it is, and what has to be known of it."""


def text_inputs(model: nn.Module, more: Sequence[TokenInput] = ()) -> tuple[TensorSpec, ...]:
    """The inputs of a text model's graph, from the signature of its own forward.

    ``token_type_ids`` is one of them when the signature has it and the config knows more than one type.

    Args:
        model: The model.
        more: What its type takes beside ids, mask and types. One that this model's signature does not have is no input.

    Raises:
        ExportError: The model does not take token ids.
    """
    names = set(inspect.signature(model.forward).parameters)
    if "input_ids" not in names:
        raise ExportError(
            f"{type(model).__name__} does not take token ids.",
            got=", ".join(sorted(names)),
            allowed="a forward with input_ids and attention_mask, or a model_type whose file says what the inputs are",
            do=_other_inputs(names),
        )
    wanted = ["input_ids"] + ["attention_mask"] * ("attention_mask" in names) + ["token_type_ids"] * (_types(model) > 1)
    found = {name: TensorSpec(name, "int64", ("batch_size", "seq_len")) for name in wanted}
    found |= {one.name: one.spec for one in more if one.name in names}
    return tuple(found.values())


def _other_inputs(names: set[str]) -> str:
    """What to do about a model whose inputs are no token ids, and of no size that is known here."""
    served = "use a model_type of the table in docs/reference/supported_models.md"
    for kind, (signal, size) in _SIGNALS.items():
        if kind in names:
            return f"{served} for {signal}, or add a file that says {size} (docs: Add an architecture)"
    return "run it with transformers: only models of texts, images and sound are served"


def _types(model: nn.Module) -> int:
    """Size of the model's table of token types. Some have none and look types up among their words (GPT-2, XLM)."""
    if "token_type_ids" not in inspect.signature(model.forward).parameters:
        return 0
    return getattr(getattr(model, "config", None), "type_vocab_size", 0) or 0


def additive_mask(attention_mask: Tensor) -> Tensor:
    """A 0/1 mask of (batch, length) → what is added to the logits, (batch, 1, 1, length), finite and inside fp16."""
    return (1.0 - attention_mask[:, None, None, :].to(torch.float32)) * MASKED


class GraphModule(nn.Module):
    """What every exported module shares: it hands the graph's inputs to a HuggingFace model.

    Args:
        model: The HuggingFace model.
        inputs: Names of the inputs that the model takes.
        mask: How the model takes its mask.
    """

    def __init__(self, model: nn.Module, inputs: Sequence[str], mask: MaskKind = "own") -> None:
        super().__init__()
        self.encoder = model
        self.inputs, self.mask = tuple(inputs), mask
        self._has_types = "input_ids" in self.inputs and _types(model) > 0
        self.forward = forward_by_name(self.finish, (*self.inputs, POOLING_MASK.name))

    def finish(self, arrays: dict[str, Tensor]) -> Any:
        """The graph's outputs, from its inputs by name."""
        raise NotImplementedError

    def call(self, arrays: dict[str, Tensor]) -> Any:
        """Runs the model on the graph's inputs and returns its own output.

        Position ids are never asked for: the model counts them as transformers does.
        """
        given = {name: arrays[name] for name in self.inputs if name in arrays}
        if self._has_types:  # one type: zeros, which spares the graph the model's own buffer
            given.setdefault("token_type_ids", torch.zeros_like(given["input_ids"]))
        if self.mask == "additive" and "attention_mask" in given:
            given["attention_mask"] = additive_mask(given["attention_mask"])
        if self.mask == "float" and "attention_mask" in given:
            given["attention_mask"] = given["attention_mask"].to(torch.float32)
        return self.encoder(**given)


class EmbeddingModule(GraphModule):
    """Token ids, an image or a clip in; vectors out.

    Args:
        encoder: An encoder whose output has ``last_hidden_state``, or is a tuple that starts with it.
        head: What stands behind it: called with the states and the caller's mask, and the mask of the tokens that are
            pooled where the graph has one. Any module with that signature.
        inputs: Names of the inputs that the encoder takes.
        mask: How the encoder takes its mask.
    """

    def __init__(self, encoder: nn.Module, head: nn.Module, inputs: Sequence[str], mask: MaskKind = "own") -> None:
        super().__init__(encoder, inputs, mask)
        self.head = head

    def finish(self, arrays: dict[str, Tensor]) -> Tensor:
        """The head's result."""
        states = states_of(self.call(arrays), getattr(self.head, "source", "last_hidden_state"))
        if getattr(self.head, "steps", ()):
            states = places(states)
        mask = mask_of(states, arrays.get("attention_mask"), self.encoder)
        more = [arrays[name] for name in (POOLING_MASK.name,) if name in arrays]
        vectors: Tensor = self.head(states, mask, *more)
        return vectors


def places(states: Any) -> Any:
    """What pooling works on: of a map (batch, channels, height, width) each place as one position."""
    if isinstance(states, Tensor) and states.ndim == 4:
        return states.flatten(2).transpose(1, 2)
    return states


def mask_of(states: Any, attention_mask: Tensor | None, model: nn.Module) -> Tensor:
    """The mask of the positions of ``states``: the caller's own, or for a clip that of its frames."""
    first: Tensor = states[0] if isinstance(states, tuple) else states
    if attention_mask is None:  # nothing is padded: an image, or a model that runs rows of one length only
        return torch.ones(first.shape[:2], dtype=torch.int64)
    of_frames = getattr(model, FRAME_MASK, None)
    return attention_mask if of_frames is None else of_frames(first.shape[1], attention_mask).to(torch.int64)


def states_of(output: Any, source: str) -> Tensor:
    """The tensor of a HuggingFace output that pooling works on; a pooled map becomes a vector.

    Raises:
        PoolingError: The model gives no such tensor.
    """
    if isinstance(output, tuple):
        states: Tensor = output[source == "pooler_output"]
        return states
    found = getattr(output, source, None)
    if found is None:
        there = [name for name, value in output.items() if isinstance(value, Tensor)]
        other = 'pass pooling="pooler_output"' if "pooler_output" in there else "choose another pooling"
        if finished := [name for name in there if name.endswith("_embeds")]:
            other = f"leave pooling out, which gives {', '.join(finished)}"
        raise PoolingError(f"The model gives no {source}.", got=", ".join(there), allowed=source, do=other)
    made: Tensor = found.flatten(1) if source == "pooler_output" else found
    return made


def one_choice(arrays: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Each row as a row of one choice, ``(rows, 1, length)``.

    ERNIE's task ids stay as they are: its model folds the dim of choices into the rows of every other input, and hands
    these on.
    """
    return {name: array if name == "task_type_ids" else array[:, None] for name, array in arrays.items()}


class TaskModule(GraphModule):
    """A HuggingFace model with its task's own head.

    Args:
        model: Such as ``BertForSequenceClassification``.
        outputs: Attributes of its output, in order: ``("logits",)``.
        inputs: Names of the graph's inputs.
        mask: How the model takes its mask.
        choices: Whether the model wants a dim of choices behind the batch: each row is then one choice of its own.
    """

    def __init__(
        self,
        model: nn.Module,
        outputs: Sequence[str],
        inputs: Sequence[str],
        mask: MaskKind = "own",
        *,
        choices: bool = False,
    ) -> None:
        super().__init__(model, inputs, mask)
        self.outputs, self.choices = tuple(outputs), choices

    def finish(self, arrays: dict[str, Tensor]) -> tuple[Tensor, ...]:
        """The outputs, in order."""
        if self.choices:
            arrays = one_choice(arrays)
        output = self.call(arrays)
        if missing := [name for name in self.outputs if getattr(output, name, None) is None]:
            raise ExportError(
                f"{type(self.encoder).__name__} has no head for this task.",
                got=f"no {', '.join(missing)} among {', '.join(output.keys())}",
                allowed=f"a model whose output has {', '.join(self.outputs)}",
                do="wrap a model of this task, or use the class of the task that the model was made for",
            )
        return tuple(getattr(output, name) for name in self.outputs)
