"""Tasks whose models give scores for each token of a text, or frame of a clip."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from QEfficient.tasks.task import Task


@dataclass(frozen=True, slots=True)
class TokenScores(Task):
    """Scores for each token, or frame."""

    by_last_column: ClassVar[bool] = False

    def per_token(self, steps: Sequence[Mapping[str, Any]]) -> bool:
        """Always."""
        return True
