"""Which tokens texts need, how often, and what they lose with some tokens only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from tokenizers import Tokenizer as FastTokenizer

_AT_ONCE = 1024  # texts: their tokens are held in memory


@dataclass(frozen=True, slots=True)
class LostTokens:
    """What texts lose: tokens that the model before its pruning read them as, and that the pruned one has not.

    Attributes:
        texts: How many there are.
        touched: The places of those that lose a token, from 0. All others give the very same vectors as before.
        tokens: How many tokens the texts have, special ones aside.
        lost: Token → how often it is lost, the most frequent first.
    """

    texts: int
    touched: tuple[int, ...]
    tokens: int
    lost: tuple[tuple[str, int], ...]

    @property
    def share_of_texts(self) -> float:
        """The share of texts that lose a token."""
        return len(self.touched) / self.texts if self.texts else 0.0

    @property
    def share_of_tokens(self) -> float:
        """The share of tokens that are lost."""
        return sum(count for _, count in self.lost) / self.tokens if self.tokens else 0.0

    def __str__(self) -> str:
        told = f"{len(self.touched)} of {self.texts} texts ({self.share_of_texts:.1%}) lose a token, "
        told += f"{self.share_of_tokens:.2%} of {self.tokens} tokens are lost"
        names = ", ".join(f"{name} ({count})" for name, count in self.lost[:10])
        return f"{told}; most often: {names}" if names else told


def count_tokens(backend: FastTokenizer, texts: Sequence[str], prompts: Sequence[str] = ("",)) -> NDArray[np.int64]:
    """How often each token stands in the texts, ``(ids,)``; special tokens around a text are not counted.

    Args:
        backend: The tokenizer, without truncation.
        texts: The texts.
        prompts: What may stand before a text, none as ``""``. A token's count is that with the prompt that has it most.
    """
    size = 1 + max(backend.get_vocab(with_added_tokens=True).values(), default=-1)
    found = np.zeros(size, np.int64)
    for prompt in prompts:
        own = np.zeros(size, np.int64)
        for ids in _ids(backend, [prompt + text for text in texts]):
            own += np.bincount(np.concatenate(ids), minlength=size)
        found = np.maximum(found, own)
    return found


def lost_tokens(backend: FastTokenizer, texts: Sequence[str], kept: Collection[str]) -> LostTokens:
    """What texts lose when some tokens only stay.

    Args:
        backend: The tokenizer with all its tokens, without truncation.
        texts: The texts.
        kept: The tokens that stay.
    """
    vocab = backend.get_vocab(with_added_tokens=True)
    names = {token: name for name, token in vocab.items()}
    gone = np.zeros(1 + max(names, default=-1), bool)
    gone[[token for token, name in names.items() if name not in kept]] = True
    touched: list[int] = []
    lost: Counter[str] = Counter()
    tokens = place = 0
    for batch in _ids(backend, texts):
        for ids in batch:
            missing = ids[gone[ids]]
            if missing.size:
                touched.append(place)
                lost.update(names[token] for token in missing.tolist())
            tokens += ids.size
            place += 1
    ordered = sorted(lost.items(), key=lambda one: (-one[1], one[0]))
    return LostTokens(len(texts), tuple(touched), tokens, tuple(ordered))


def _ids(backend: FastTokenizer, texts: Sequence[str]) -> Iterator[list[NDArray[np.int64]]]:
    for start in range(0, len(texts), _AT_ONCE):
        encoded: Any = backend.encode_batch_fast(list(texts[start : start + _AT_ONCE]), add_special_tokens=False)
        yield [np.array(one.ids, np.int64) for one in encoded]
