"""Figures of question answering, as SQuAD's own script has them.

P. Rajpurkar, R. Jia, P. Liang: Know What You Don't Know, ACL 2018; ``evaluate-v2.0.py``. An answer counts for what it
has in common with the right answer that it is nearest to. Case, punctuation and the English articles do not count.
Where there is no right answer, the empty string is the right one.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from QEfficient.evaluate.metrics.metric import Floats, mean_of
from QEfficient.evaluate.record import Outcome

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalised(answer: str) -> str:
    """An answer in lower case, without punctuation, articles and superfluous spaces.

    >>> normalised("The  Eiffel-Tower, in Paris.")
    'eiffeltower in paris'
    """
    return " ".join(_ARTICLES.sub(" ", answer.lower().translate(_NO_PUNCTUATION)).split())


def _best(compare: Callable[[str, str], float]) -> Callable[[Outcome], Floats]:
    """A value a row: of the right answer that the given one is nearest to."""

    def each(outcome: Outcome) -> Floats:
        rows = zip(outcome.right, outcome.given, strict=True)
        return np.array([max(compare(one, normalised(given)) for one in _answers(right)) for right, given in rows])

    return each


def _answers(right: Sequence[str]) -> list[str]:
    return [one for one in map(normalised, right) if one] or [""]


def _same(right: str, given: str) -> float:
    return float(right == given)


def _overlap(right: str, given: str) -> float:
    """F1 of two answers' words; of an empty one, whether both are."""
    words, others = right.split(), given.split()
    if not words or not others:
        return float(words == others)
    common = sum((Counter(words) & Counter(others)).values())
    return 2 * common / (len(words) + len(others))


EXACT_MATCH = mean_of("exact_match", _best(_same))
ANSWER_F1 = mean_of("f1", _best(_overlap))
