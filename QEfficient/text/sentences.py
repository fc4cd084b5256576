"""A text → its sentences, by the marks that end them in Unicode's scripts. Small, and honest about it.

No dictionary of abbreviations is complete, and no rule knows every script: Thai and Lao have no such mark. What is not
known for an end is none, so a part may hold more than one sentence; none is cut within.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_CLOSE = "[\"'”’»›)\\]}」』）】》〉]*"
_SPACED = re.compile(rf"[.!?…‼⁇⁈⁉؟۔։։።፧]+{_CLOSE}(?=\s)\s+")
"""Marks that end a sentence where a space follows: within numbers and names they stand without one."""
_ALONE = re.compile(rf"[。！？｡．।॥།༎။។៕]+{_CLOSE}\s*")
"""Marks that end a sentence whatever follows."""
_PARAGRAPH = re.compile(r"\s*\n\s*\n\s*")
_ENDS = re.compile("|".join(f"(?:{one.pattern})" for one in (_PARAGRAPH, _ALONE, _SPACED)))
_LAST_WORD = re.compile(r"(?:^|[\s(\[\"'“‘„«])([^\s(\[\"'“‘„«]*)$")
_ABBREVIATED = frozenset(
    "mr mrs ms dr prof st jr sr vs etc e.g i.e cf al vol fig eq pp approx dept inc ltd co corp gen col sgt capt rev "
    "hr fr bzw z.b d.h u.a ca usw nr evtl ggf vgl bd abb mme mlle p.ex sra dña núm ud pag dott т.е т.д др г ул".split()
)


def sentences(text: str) -> list[str]:
    """The sentences of a text, each with the spaces behind it: joined, they are the text.

    >>> sentences("Dr. No came at 3.15 p.m. and left. Why? 誰も知らない。本当だ。")
    ['Dr. No came at 3.15 p.m. and left. ', 'Why? ', '誰も知らない。', '本当だ。']
    """
    starts = [0, *_ends(text)]
    return [text[start:end] for start, end in zip(starts, [*starts[1:], len(text)], strict=True) if start < end]


def _ends(text: str) -> Iterator[int]:
    for found in _ENDS.finditer(text):
        dot = found.group().rstrip()[:1] == "." and len(found.group().strip()) == 1
        if found.end() == len(text) or (dot and _goes_on(text, found.start(), found.end())):
            continue
        yield found.end()


def _goes_on(text: str, dot: int, after: int) -> bool:
    """Whether a dot is one of an abbreviation or an initial, or a word without a capital follows it."""
    word = _LAST_WORD.search(text, 0, dot)
    name = word.group(1) if word else ""
    return text[after].islower() or name.lower() in _ABBREVIATED or (len(name) == 1 and name.isalpha())
