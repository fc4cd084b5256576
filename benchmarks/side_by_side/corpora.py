"""The three corpora, and what they cost in matrix multiplications."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer

from tests import real_text

LIMIT = 512  # tokens, special ones included: what the model takes


QUERY = 60  # characters: about what people type into a search


def snippets(count: int) -> list[str]:
    """Short texts: film and product reviews and tweets, shuffled."""
    return _shuffled()[:count]


def queries(count: int) -> list[str]:
    """The last so many of the same that are no longer than :data:`QUERY`."""
    return [text for text in dict.fromkeys(_shuffled()) if len(text) <= QUERY][-count:]


def _shuffled() -> list[str]:
    texts = [text for kind in ("movies", "products", "tweets") for _, _, text in real_text.rows(kind)]
    random.Random(0).shuffle(texts)
    return texts


def editorials(count: int, tokenizer: Tokenizer, seed: int = 0) -> list[str]:
    """Consecutive editorial snippets joined into texts, whose lengths have a long tail.

    Each wants a log-normal number of tokens, median 100, and one in ten past 350; it ends with the snippet that
    reaches it, and before one that would take it past :data:`LIMIT`.
    """
    rng = random.Random(seed)
    rows = [text for _, _, text in real_text.rows("editorials")]
    sizes = [len(encoding.ids) - 2 for encoding in tokenizer.encode_batch(rows)]
    texts: list[str] = []
    place = 0
    while len(texts) < count and place < len(rows):
        wanted, parts, tokens = min(LIMIT - 2, rng.lognormvariate(4.6, 1.0)), [rows[place]], sizes[place]
        place += 1
        while place < len(rows) and tokens < wanted and tokens + sizes[place] <= LIMIT - 2:
            parts.append(rows[place])
            tokens += sizes[place]
            place += 1
        texts.append(" ".join(parts))
    return texts


def lengths(texts: Sequence[str], tokenizer: Tokenizer) -> list[int]:
    """Tokens of each text, special ones included, at most :data:`LIMIT`."""
    return [min(LIMIT, len(encoding.ids)) for encoding in tokenizer.encode_batch(list(texts))]


def read_tokenizer(model: Path) -> Tokenizer:
    """The model's, without its truncation and padding."""
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def flops(model: Path, tokens: Sequence[int]) -> float:
    """Of all matrix multiplications of a BERT for rows of so many tokens, nothing padded.

    The four projections of attention, the two layers behind it, and the two products of each row with itself.
    """
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    hidden, inner, layers = config["hidden_size"], config["intermediate_size"], config["num_hidden_layers"]
    each = 2 * (4 * hidden * hidden + 2 * hidden * inner)
    return float(layers * sum(length * each + 4 * hidden * length * length for length in tokens))
