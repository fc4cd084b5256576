"""Which lengths a model takes, as its architecture says."""

from __future__ import annotations

from dataclasses import dataclass

from QEfficient.architectures import find
from QEfficient.records import TextFacts
from QEfficient.source.origin import Origin


@dataclass(frozen=True, slots=True)
class Reach:
    """Which lengths a model takes: tokens of a text, samples of a clip.

    Attributes:
        limit: The most, ``None`` where the architecture sets none.
        whole: The most that HuggingFace's own model takes; longer texts are shortened to it, as they are there.
        shortest: The least.
        first, last: First and last default bucket where nothing else says it.
        free: False when rows have no length of their own: images of one size.
    """

    limit: int | None
    whole: int | None
    shortest: int = 1
    first: int = 32
    last: int = 512
    free: bool = True

    def longest(self, text: TextFacts) -> int:
        """The last of ``compile``'s default buckets: what text and model take; 1 where the inputs have one size."""
        return min(text.max_length, self.limit or self.last) if self.free else 1


def reach(origin: Origin) -> Reach:
    """Which lengths a model takes, as its architecture says.

    Raises:
        NotYetSupportedError: The architecture can't be right.
    """
    config = origin.config()
    facts = find(str(config.get("model_type", "")))
    facts.check(config)
    first, last = facts.lengths
    limit, whole = facts.max_length(config), facts.whole_length(config)
    return Reach(limit, whole, facts.shortest(config), first, last, facts.has_length(config))


def default_lengths(limit: int, first: int = 32) -> list[int]:
    """Bucket lengths that double from ``first`` and end with ``limit``."""
    lengths = [first]
    while lengths[-1] < limit:
        lengths.append(lengths[-1] * 2)
    return [length for length in lengths if length < limit] + [limit]
