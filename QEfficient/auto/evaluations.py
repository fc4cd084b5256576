"""Where sentence-transformers' evaluators leave their figures: its models call it ``model_card_data``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Evaluations:
    """The figures of every evaluator that was run on a model, the last ones of each.

    Attributes:
        metrics: The evaluator's name, or its description where it has none → its figures.
    """

    metrics: dict[str, dict[str, float]] = field(default_factory=dict)

    def set_evaluation_metrics(
        self, evaluator: Any, metrics: Mapping[str, float], epoch: int = 0, step: int = 0
    ) -> None:
        """Keeps an evaluator's figures; evaluators call it when they are done.

        Args:
            evaluator: Of ``sentence_transformers``.
            metrics: Name → figure.
            epoch: Not used: a compiled model is not trained.
            step: Likewise.
        """
        self.metrics[str(getattr(evaluator, "name", "") or evaluator.description)] = dict(metrics)
