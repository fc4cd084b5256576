"""What came of a training."""

from __future__ import annotations

import dataclasses
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from QEfficient.records import Json
from QEfficient.train.request import TrainRequest
from QEfficient.train.scores import MetricChange

if TYPE_CHECKING:
    from torch import nn

    from QEfficient.evaluate.record import Examples

log = logging.getLogger("QEfficient")


@dataclass(frozen=True, slots=True)
class Course:
    """How a training went.

    Attributes:
        seconds: Wall-clock time of the training itself; of a resumed one, of its last part.
        steps: Steps taken, those before a resume among them.
        losses: Step → mean loss since the entry before.
        held_out_losses: Loss on the held-out rows before and after; ``None`` without such rows.
        scores: What the caller's ``score`` gave before and after; ``None`` without one.
        metrics: Without one: what ``evaluate`` measures on the held-out rows, before and after, the task's main metric
            first. Empty without such rows, or where they hold nothing right or wrong for the model.
    """

    seconds: float
    steps: int
    losses: tuple[tuple[int, float], ...]
    held_out_losses: tuple[float, float] | None = None
    scores: tuple[float, float] | None = None
    metrics: tuple[MetricChange, ...] = ()


@dataclass(frozen=True, slots=True)
class TrainedOn:
    """The rows of a training.

    Attributes:
        task: What they are for.
        name: What they came from.
        digest: Of their values.
        rows, held_out_rows: How many.
        held_out_digest: Of the values of the held-out rows; ``None`` without such rows.
    """

    task: str
    name: str
    digest: str
    rows: int
    held_out_rows: int
    held_out_digest: str | None = None

    @classmethod
    def of(cls, train: Examples, held_out: Examples | None) -> TrainedOn:
        """What there is to say of them; with a warning in the log where they are held out from nothing."""
        of_train = (train.task, train.name, train.digest, len(train))
        if held_out is None:
            return cls(*of_train, 0)
        if held_out.digest == train.digest:
            log.warning(
                "the held-out rows are those that were trained on (%s): their loss and metrics say how well these were "
                "learnt, not how the model does on others",
                train.name,
            )
        return cls(*of_train, len(held_out), held_out.digest)


@dataclass(frozen=True, slots=True)
class Trained:
    """A model with its new weights, and where they come from.

    Attributes:
        module: HuggingFace's module with the new weights, in eval mode, on the CPU; an adapter is merged.
        wrapper: The ``SentenceTransformer`` or ``CrossEncoder`` around it; ``None`` for a head.
        tokenizer: HuggingFace's; of images and clips what reads these.
        name: What it was trained from.
        data: What it was trained on.
        request: How it was trained.
        course: How that went.
        output_dir: Where its checkpoints are.
    """

    module: nn.Module
    wrapper: Any
    tokenizer: Any
    name: str
    data: TrainedOn
    request: TrainRequest
    course: Course
    output_dir: Path

    def facts(self) -> dict[str, Json]:
        """From what, on what, how, and what it scored: as JSON, for a saved model and its program."""
        course = self.course
        return {
            "from": self.name,
            "data": dataclasses.asdict(self.data),
            "how": self.request.how(),
            "steps": course.steps,
            "held_out_loss": None if course.held_out_losses is None else list(course.held_out_losses),
            "score": None if course.scores is None else list(course.scores),
            "metrics": [one.to_dict() for one in course.metrics],
        }

    def __str__(self) -> str:
        course, data = self.course, self.data
        lines = [
            f"{self.name}, trained for {data.task} on {data.rows} rows: {course.steps} steps, {course.seconds:.0f} s"
        ]
        for what, pair in (("held-out loss", course.held_out_losses), ("score", course.scores)):
            if pair is not None:
                lines.append(f"  {what}: {pair[0]:.4f} before, {pair[1]:.4f} after")
        return "\n".join([*lines, *(f"  {one}" for one in course.metrics)])


def name_of(module: nn.Module) -> str:
    """By what name a module was loaded, else its class's."""
    return str(getattr(module.config, "_name_or_path", "")) or type(module).__name__
