"""Rows of a batch: what they may look like, and what turns strings into them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from QEfficient.records.tensors import TensorSpec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class TextFacts:
    """What turns strings into a model's inputs without the transformers package.

    Attributes:
        tokenizer: File name of the ``tokenizer.json`` in the folder; ``None`` when there is no fast form.
        max_length: The model's own limit in tokens, special tokens included.
        pad_id: Token id that fills a row.
        pad_type_id: Token type id that fills a row.
        padding_side: ``"right"`` or ``"left"``; matters to positions only.
        lower_case: Lower-case strings before tokenising (``do_lower_case`` of a sentence-transformers repo).
        prompts: Prompt name → text put before a string.
        default_prompt: Name of the prompt used when the caller names none.
        route: Of a sentence-transformers Router, the route that this program holds; else ``None``.
        tasks: Of a Router: what a vector is for (``"query"``; ``""`` is nothing in particular) → the route for it.
        similarity: ``"cosine"``, ``"dot"``, ``"euclidean"`` or ``"manhattan"``.
        truncate_dim: Default number of leading dims to keep, or ``None``.
        activation: Dotted name of the class that makes scores of a reranker's logits; ``None``: nothing is saved.
        chat: True when sentence-transformers writes a reranker's pairs through the tokenizer's chat template.
        clean_up_spaces: True when decoded texts lose the spaces before punctuation, as the repo's
            ``clean_up_tokenization_spaces`` says.
    """

    tokenizer: str | None
    max_length: int
    pad_id: int = 0
    pad_type_id: int = 0
    padding_side: str = "right"
    lower_case: bool = False
    prompts: Mapping[str, str] = field(default_factory=dict)
    default_prompt: str | None = None
    route: str | None = None
    tasks: Mapping[str, str] = field(default_factory=dict)
    similarity: str = "cosine"
    truncate_dim: int | None = None
    activation: str | None = None
    chat: bool = False
    clean_up_spaces: bool = False


@dataclass(frozen=True, slots=True)
class TokenInput:
    """An input of whole numbers, some for each token, beside ids, mask and types: boxes on a page, paths in a document.

    Attributes:
        name: Its name in the graph and in HuggingFace's forward.
        sizes: Its dims behind rows and tokens: ``(4,)`` for boxes; none where a token has one number.
        default: What HuggingFace takes for each number where the input is left out. It also fills a row up.
        below: Sizes of the tables that the numbers are looked up in, where the graph does not tell them (as
            ``Manifest.tables``): one for all, or one a number of the last dim.
        boxes: Whether it holds left, top, right and bottom of a box on a page.
        ordered: Of boxes: whether width and height are looked up as they are, so that none may end before it begins.
    """

    name: str
    sizes: tuple[int, ...] = ()
    default: int = 0
    below: tuple[int, ...] = ()
    boxes: bool = False
    ordered: bool = False

    @property
    def spec(self) -> TensorSpec:
        """The graph's input."""
        return TensorSpec(self.name, "int64", ("batch_size", "seq_len", *self.sizes))


@dataclass(frozen=True, slots=True)
class RowRules:
    """What a row of a program may look like, and what stands for what a caller leaves out.

    Attributes:
        pads: False when a row's numbers depend on the padding beside it: then it runs with rows of its length only.
        frames: Where the output has frames in place of samples: kernel and stride of each convolution on the way.
        zero_types: Whether token types of 0 are what the model takes for none, where the graph has no such input.
        more: Inputs of the graph that stand beside ids, mask and types.
        left_out: What HuggingFace's model takes and the graph does not → why, or ``""``.
    """

    pads: bool = True
    frames: tuple[tuple[int, int], ...] = ()
    zero_types: bool = True
    more: tuple[TokenInput, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)

    @property
    def defaults(self) -> dict[str, int]:
        """Name → the number that stands for each of an input's that is left out."""
        return {one.name: one.default for one in self.more}

    def fill(self, text: TextFacts | None) -> dict[str, int]:
        """Name → the number that fills a row up to its batch's length; 0 where there is none."""
        ids = {} if text is None else {"input_ids": text.pad_id, "token_type_ids": text.pad_type_id}
        return ids | self.defaults


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of unequal length, on their way to a session.

    Attributes:
        columns: Input name → one array a row, without the batch dim. A row of ids or samples has the row's own
            length: everything up to and with its last real token.
        width: Columns that the result has where it is one vector a token: the width of the caller's array, or the
            longest row of a text.
        lengths: Length of each row in tokens, or samples; 1 for an image.
        kept: Output name → its rows, where they are fewer than all: with more images than texts, say.
    """

    columns: Mapping[str, Sequence[NDArray[np.generic]]]
    width: int
    lengths: tuple[int, ...]
    kept: Mapping[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.lengths)
