"""HuggingFace's own encoder and decoder: what they write about texts. Imported only where torch is at work anyway."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from QEfficient.build.decoder_reference import CUT, greedy, named_texts
from QEfficient.build.generation_files import generation_config
from QEfficient.export.isolated import isolated
from QEfficient.generation.from_sources import decoder_start
from QEfficient.numerics.continuations import Continuation
from QEfficient.pytorch_transforms.blocks import exportable

if TYPE_CHECKING:
    from QEfficient.records import TextFacts
    from QEfficient.source.recipe import Recipe


def source_continuations(
    recipe: Recipe, text: TextFacts, texts: Sequence[str] | None = None, longest: int = CUT
) -> list[Continuation]:
    """What HuggingFace's model writes about sources greedily, in float32, whatever its generation config forbids.

    Args:
        recipe: Which model.
        text: Its text side.
        texts: The sources; ``None``: built-in texts, or random ids where the model has no tokenizer.
        longest: Tokens after which a source is cut.
    """
    vocabulary = int(recipe.origin.config()["vocab_size"])
    limit = recipe.architecture.max_length(recipe.origin.config())  # a small model may know fewer positions than that
    named = named_texts(recipe, text, texts, min(longest, limit or longest), vocabulary)
    start = decoder_start({**recipe.origin.config(), **generation_config(recipe.origin)})
    return _continued(recipe, named, start)


@isolated
def _continued(recipe: Recipe, sources: Sequence[tuple[str, tuple[int, ...]]], start: int) -> list[Continuation]:
    model: Any = exportable(recipe.origin.module())[0]
    found = []
    with torch.no_grad():
        for name, source in sources:
            encoded = model.get_encoder()(torch.tensor([list(source)]))
            logits = greedy(model, (start,), "decoder_input_ids", encoder_outputs=encoded)
            found.append(Continuation(name, (start,), tuple(logits.argmax(-1).tolist()), logits, source))
    return found
