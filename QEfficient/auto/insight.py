"""What can be known of a model's numbers and speed: the rooms ``numerics`` and ``analysis`` as methods.

Each method is a thin call; the room is loaded on use, so that a warm cache and a saved program never pay for it.
"""

from __future__ import annotations

from QEfficient.auto.pipelines import PipelineModel
from QEfficient.auto.stages import Recipe, text_facts
from QEfficient.records import TextFacts


class Insight(PipelineModel):
    """Verifies, diagnoses, analyses and recommends."""

    def _text(self) -> TextFacts:
        import dataclasses

        origin = self._need_origin("text facts")
        facts = text_facts(origin)
        return facts if self._max_seq_length is None else dataclasses.replace(facts, max_length=self._max_seq_length)

    def _recipe(self, functions: bool, verify: str) -> Recipe:
        origin = self._need_origin("export or compile")
        return Recipe(origin, self._head, self._task, functions, verify)
