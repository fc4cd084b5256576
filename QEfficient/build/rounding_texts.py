"""Which texts a decoder's weights are rounded for: the caller's and the built-in ones, as chats and as they stand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from QEfficient.build.tokenizer import model_tokenizer
from QEfficient.compress.prose import PROSE
from QEfficient.compress.rounding_texts import RoundingTexts
from QEfficient.errors import InputError, LoadError
from QEfficient.text.chat import ChatTemplate

if TYPE_CHECKING:
    from QEfficient.records import TextFacts
    from QEfficient.source.recipe import Recipe
    from QEfficient.text.tokenizer import Tokenizer

CUT = 256
"""Tokens after which a text is cut: many texts say more than a long one."""

MOST = 4096
"""Tokens of all texts together: what it takes grows with them, and what is gained by more of them gets less.

Of 864 tokens of SmolLM2's answers HuggingFace's are, for 614, 1,932 and 4,156 tokens of the built-in texts, 642, 662
and 671; for 691, 1,990 and 3,797 of conversations like those that are answered, 654, 692 and 699.
"""


def rounding_texts(recipe: Recipe, text: TextFacts, texts: Sequence[str]) -> RoundingTexts | None:
    """Texts as ids, the caller's first.

    A model that has a chat template reads each text as what a user says, and once more as it stands: what answers chats
    sees little else, and has its largest activations at the template's tokens.

    Args:
        recipe: Which model.
        text: Its text side.
        texts: The caller's.

    Returns:
        ``None`` where the model has no tokenizer: ids at random are no text, and worse than nothing.
    """
    tokenizer = model_tokenizer(recipe, text)
    if tokenizer is None:
        return None
    longest = min(CUT, recipe.architecture.max_length(recipe.origin.config()) or CUT)
    templates = None if recipe.origin.folder is None else ChatTemplate.from_folder(recipe.origin.folder)
    rows: list[tuple[int, ...]] = []
    own, room = 0, MOST
    for number, one in enumerate((*texts, *PROSE)):
        for ids in _forms(one, tokenizer, templates, longest):
            if room > 0:
                rows.append(ids[:room])
                room -= len(rows[-1])
                own = min(number + 1, len(texts))
    return RoundingTexts(tuple(rows), own)


def _forms(text: str, tokenizer: Tokenizer, templates: ChatTemplate | None, longest: int) -> Iterator[tuple[int, ...]]:
    """A text as a chat, where the model has chats and takes this one, and as it stands."""
    if templates is not None and templates.templates:
        with suppress(LoadError, InputError):  # a template may want more than a message
            chat = templates.render([{"role": "user", "content": text}])
            yield tuple(tokenizer.ids(chat, add_special_tokens=False)[:longest])
    yield tuple(tokenizer.ids(text)[:longest])
