"""What can be known of a model's numbers and speed: the rooms ``numerics`` and ``analysis`` as methods.

Each method is a thin call; the room is loaded on use, so that a warm cache and a saved program never pay for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from QEfficient.auto import request
from QEfficient.auto.pipelines import PipelineModel
from QEfficient.auto.stages import Recipe, text_facts
from QEfficient.records import TextFacts

if TYPE_CHECKING:
    from QEfficient.numerics.verify import Limits, Verification


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

    def verify(
        self,
        texts: Sequence[str] | None = None,
        limits: Limits | Mapping[str, float | None] | None = None,
        *,
        emulate: bool = False,
        check: bool = True,
    ) -> Verification:
        """Compares the compiled program with HuggingFace in float32, on built-in texts and random rows.

        ``compile`` does this too, before it compiles; this runs the program itself. A saved program has no HuggingFace
        model behind it: it is compared with its own graph in fp32 on the host.

        Args:
            texts: Further texts to run.
            limits: What must hold in place of the precision's defaults, ``{"min_cosine": 0.999}``; see
                :class:`QEfficient.numerics.verify.Limits`.
            emulate: Run the card's arithmetic (fp16, and what the compiler options say) on the host in place of the
                program. It needs no card.
            check: False returns a result that is past its limits instead of raising.

        Returns:
            What was found; printing it shows a table.

        Raises:
            UsageError: Not compiled, or texts for a program without a tokenizer.
            VerificationError: A limit does not hold; names the worst rows and the layer that it starts in.
        """
        from QEfficient.auto.verification import verify_ready

        ready = self._need_ready()
        recipe = None if self._origin is None else self._recipe(False, "on")
        found = verify_ready(ready, recipe, request.strings("texts", texts), limits, emulate=emulate, check=check)
        return found
