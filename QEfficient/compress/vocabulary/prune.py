"""Texts → the tokens that stay, under their new ids → the model's tables and config with these."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from QEfficient.compress.vocabulary.choice import VocabularySize, choose
from QEfficient.compress.vocabulary.counts import LostTokens, count_tokens, lost_tokens
from QEfficient.compress.vocabulary.pieces import Pieces, read_pieces
from QEfficient.compress.vocabulary.renumber import (
    ids_in_config,
    new_order,
    renumbered_config,
    renumbered_tokenizer,
)
from QEfficient.compress.vocabulary.tables import cut_tables, find_tables, table_bytes
from QEfficient.errors import UsageError
from QEfficient.records import TextFacts
from QEfficient.text.tokenizer import add_lower_case

if TYPE_CHECKING:
    from tokenizers import Tokenizer as FastTokenizer
    from torch import nn


@dataclass(frozen=True, slots=True)
class ReadsTexts:
    """How a model reads texts.

    Attributes:
        content: The tokenizer's JSON.
        backend: The tokenizer itself, without truncation and padding; it lower-cases where the repo says so.
        prompts: What may stand before a text; ``""`` among them.
        default: What stands there when nobody says anything.
    """

    content: str
    backend: FastTokenizer
    prompts: tuple[str, ...] = ("",)
    default: str = ""

    @classmethod
    def of(cls, content: str, text: TextFacts | None) -> ReadsTexts:
        """A tokenizer by its JSON, with what the model's files say of texts."""
        from tokenizers import Tokenizer as FastTokenizer

        backend = FastTokenizer.from_str(content)
        backend.no_truncation()
        backend.no_padding()
        if text is None:
            return cls(content, backend)
        if text.lower_case:
            add_lower_case(backend)
        prompts = dict.fromkeys(("", *text.prompts.values()))
        return cls(content, backend, tuple(prompts), text.prompts.get(text.default_prompt or "", ""))

    def lost(self, texts: Sequence[str], names: Collection[str]) -> LostTokens:
        """What texts lose where these tokens only stay."""
        return lost_tokens(self.backend, [self.default + text for text in texts], names)


@dataclass(frozen=True)
class PrunedVocabulary:
    """Which tokens stay, and under which ids.

    Attributes:
        pieces: The tokenizer's, all of them.
        order: The old ids in the order of the new ones.
        rows: How many rows the model's tables have left: the first so many of these ids have one.
    """

    pieces: Pieces
    order: tuple[int, ...]
    rows: int

    @cached_property
    def new(self) -> Mapping[int, int]:
        """Old id → new one."""
        return {old: place for place, old in enumerate(self.order)}

    @property
    def names(self) -> frozenset[str]:
        """The tokens that stay."""
        return frozenset(name for name, token in self.pieces.ids.items() if token in self.new)

    def tokenizer(self) -> str:
        """The JSON of the tokenizer that has these tokens only."""
        return renumbered_tokenizer(self.pieces, self.new)


def choose_vocabulary(
    reads: ReadsTexts, texts: Sequence[str], keep: Sequence[str], wanted: VocabularySize, module: nn.Module
) -> PrunedVocabulary:
    """Chooses the tokens that texts need, and numbers them anew.

    Args:
        reads: How the model reads them.
        texts: The texts.
        keep: Further texts or tokens, whose tokens stay whatever their count.
        wanted: How many tokens are to stay.
        module: The model.

    Raises:
        UsageError: The tokenizer's ids do not fit the model's table.
        OptionError: As :func:`~QEfficient.compress.vocabulary.choice.choose`.
    """
    pieces = read_pieces(reads.content)
    whole: Any = module
    size: int = whole.config.vocab_size
    named = _named_by(whole)
    counts = count_tokens(reads.backend, texts, reads.prompts)
    counts[size:] = 0  # of tokens that the model has no row for
    also = {token for token in named if token < size}
    for text in (*keep, *reads.prompts):
        also |= set(reads.backend.encode(text, add_special_tokens=False).ids)
        also |= {pieces.ids[text]} if text in pieces.ids else set()
    kept = choose(pieces, counts, wanted, also)
    order = new_order(pieces, kept, whole.config.to_dict().get("pad_token_id"))
    rows = sum(token < size for token in order)
    if any(token >= size for token in order[:rows]):
        raise UsageError(
            "Tokens that the model has no row for stand before others that it has one for.",
            got=f"ids up to {max(order)}, and a table of {size} rows",
            allowed="a tokenizer whose last tokens only are without rows",
            do="resize the model's table to its tokenizer first: model.resize_token_embeddings(len(tokenizer))",
        )
    return PrunedVocabulary(pieces, order, rows)


def pruned_module(module: nn.Module, vocabulary: PrunedVocabulary) -> nn.Module:
    """A copy of the model with the rows that stay, and a config with their ids. All other tensors are shared.

    Raises:
        UsageError: The model has no table of words that could be cut.
    """
    whole: Any = module
    tables, new = find_tables(module), vocabulary.new
    config = renumbered_config(whole.config.to_dict(), new)
    made: Any = cut_tables(module, tables, vocabulary.order[: vocabulary.rows], config)
    generation = getattr(made, "generation_config", None)
    if generation is not None:
        for name, value in renumbered_config(generation.to_dict(), new).items():
            setattr(generation, name, value)
    return made  # type: ignore[no-any-return]


def sizes(module: nn.Module) -> tuple[int, int, int]:
    """Rows of the word table, bytes of all tables over words, and parameters of the whole model."""
    whole: Any = module
    parameters = sum(one.numel() for one in module.parameters())
    return whole.config.vocab_size, table_bytes(module, find_tables(module)), parameters


def _named_by(whole: Any) -> set[int]:
    found = ids_in_config(whole.config.to_dict())
    generation = getattr(whole, "generation_config", None)
    return found if generation is None else found | ids_in_config(generation.to_dict())
