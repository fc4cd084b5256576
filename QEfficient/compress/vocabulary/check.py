"""A pruned model is read back as everybody will read it: texts that lose nothing must come out as before."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from QEfficient.errors import TransformError
from QEfficient.export.isolated import isolated
from QEfficient.source.checkpoint import Checkpoint

if TYPE_CHECKING:
    from tokenizers import Tokenizer as FastTokenizer
    from torch import nn

_TEXTS = 8
_TOKENS = 48
_CLOSE = 1e-5  # of the largest number: a product with fewer words may be summed up in another order


def check_written(
    module: nn.Module, content: str, new: Mapping[int, int], written: Checkpoint, texts: Sequence[str]
) -> None:
    """Compares the model before with the one that was written, on some of the texts that lose no token.

    Args:
        module: The model before.
        content: The JSON of its tokenizer.
        new: Old id → new one.
        written: The pruned model's files.
        texts: Texts; those that lose a token are passed over.

    Raises:
        TransformError: The ids of a text are not the renumbered ones, or its numbers are others.
    """
    from tokenizers import Tokenizer as FastTokenizer

    backend = _whole_texts(FastTokenizer.from_str(content))
    after = _whole_texts(_tokenizer_of(written))
    rows = []
    for text in texts[: 8 * _TEXTS]:
        before = backend.encode(text).ids
        if not before or not set(before) <= new.keys():
            continue
        wanted, found = [new[token] for token in before], after.encode(text).ids
        if wanted != found:
            raise _differs("a text gets other tokens", f"{text!r:.80}: {found[:12]} in place of {wanted[:12]}")
        rows.append(before[:_TOKENS])
    _compare(module, written.module(), new, rows[:_TEXTS])


def _whole_texts(backend: FastTokenizer) -> FastTokenizer:
    backend.no_truncation()
    backend.no_padding()
    return backend


def _tokenizer_of(written: Checkpoint) -> FastTokenizer:
    from transformers import AutoTokenizer

    read: Any = AutoTokenizer.from_pretrained(str(written.folder), **written.tokenizer_keywords)
    backend: FastTokenizer = read.backend_tokenizer
    return backend


@isolated
def _compare(before: Any, after: Any, new: Mapping[int, int], rows: Sequence[Sequence[int]]) -> None:
    import torch

    before, after = _as_compared(before), _as_compared(after)
    words = torch.tensor(sorted(new, key=new.__getitem__))
    scores = before.get_output_embeddings() is not None
    with torch.inference_mode():
        for row in rows:
            ids = torch.tensor([list(row)]), torch.tensor([[new[token] for token in row]])
            told = [model.base_model(input_ids=one)[0] for model, one in zip((before, after), ids, strict=True)]
            _check_close(told[0], told[1])
            if scores:
                first, second = (model(input_ids=one).logits for model, one in zip((before, after), ids, strict=True))
                _check_close(first[..., words[words < first.shape[-1]]], second)


def _as_compared(module: Any) -> Any:
    """A copy without dropout and in float32: in fewer bits another way to compute attention rounds to other numbers."""
    import torch

    from QEfficient.pytorch_transforms.blocks import structural_copy

    twin: Any = structural_copy(module) if module.dtype == torch.float32 else copy.deepcopy(module).float()
    return twin.eval()


def _check_close(wanted: Any, found: Any) -> None:
    if wanted.shape != found.shape or float((wanted - found).abs().max()) > _CLOSE * float(wanted.abs().max()):
        raise _differs("a text that loses no token gets other numbers", f"{tuple(found.shape)}")


def _differs(what: str, got: str) -> TransformError:
    return TransformError(
        f"The pruned model is not what it was made from: {what}. Nothing is kept.",
        got=got,
        allowed="the same tokens under their new ids, and the same numbers",
        do="keep the model as it is, and report its type: its vocabulary can't be pruned here",
    )
