"""What a teacher with a head says to rows: its logits, kept beside the checkpoints, and batches that hold them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from QEfficient.train.distill_request import DistillRequest
from QEfficient.train.features import collator
from QEfficient.train.folder import RunFolder
from QEfficient.train.labelled import Feature
from QEfficient.train.teacher import ModelWithTokenizer, asked, kept

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

TAGS, ANSWERS = "token-classification", "question-answering"
LOGITS_PER_TOKEN = {TAGS: "ForTokenClassification", ANSWERS: "ForQuestionAnswering"}
"""Task of models with logits a token → how their classes' names end."""


def logits_per_token(teacher: ModelWithTokenizer) -> str | None:
    """The task of a model with logits a token; ``None`` for one with logits a row."""
    name = type(teacher.module).__name__
    return next((task for task, end in LOGITS_PER_TOKEN.items() if name.endswith(end)), None)


def logits_of(outputs: Any) -> Any:
    """A model's logits; of answers both ends', ``(windows, tokens, 2)``."""
    import torch

    return outputs.logits if "logits" in outputs else torch.stack([outputs.start_logits, outputs.end_logits], dim=-1)


def with_logits(
    teacher: ModelWithTokenizer,
    rows: tuple[list[Feature], list[Feature]],
    digest: str,
    request: DistillRequest,
    folder: RunFolder,
) -> list[Feature]:
    """The student's features with what the teacher says to each: ``(labels,)``, or ``(tokens, labels)``.

    Args:
        teacher: Who is asked, where the run's folder does not hold the answers yet.
        rows: As the teacher reads them, and as the student does.
        digest: Of the rows.
        request: Says how many rows are asked about at a time.
        folder: Of the run.
    """
    import numpy as np

    teachers, students = rows
    per_token = logits_per_token(teacher) is not None
    lengths = [len(row["input_ids"]) for row in teachers]
    flat = kept(
        folder.path,
        {"run": folder.key, "rows": digest},
        lambda: _logits(teacher, teachers, per_token, request.batch_size),
    )
    if not per_token:
        return [row | {"teacher": logits} for row, logits in zip(students, flat, strict=True)]
    parts = np.split(flat, np.cumsum(lengths)[:-1])
    return [row | {"teacher": logits} for row, logits in zip(students, parts, strict=True)]


def _logits(teacher: ModelWithTokenizer, rows: list[Feature], per_token: bool, batch_size: int) -> NDArray[np.float32]:
    """All logits of the teacher, those of one row or token after the other, ``(rows or tokens, labels)``."""
    import numpy as np
    import torch

    module = teacher.module
    found: list[Any] = [None] * len(rows)
    order = sorted(range(len(rows)), key=lambda row: len(rows[row]["input_ids"]))
    with asked(module):
        for start in range(0, len(order), batch_size):
            places = order[start : start + batch_size]
            inputs = [{name: rows[row][name] for name in rows[row] if name != "labels"} for row in places]
            batch = teacher.tokenizer.pad(inputs, padding_side="right", return_tensors="pt")
            logits = logits_of(module(**batch.to(next(module.parameters()).device))).float().cpu()
            for place, row in enumerate(places):
                real = batch["attention_mask"][place].cpu().to(torch.bool)
                found[row] = (logits[place][real] if per_token else logits[place][None]).numpy()
    return np.concatenate(found)


def logits_collator(tokenizer: Any, kind: str | None) -> Callable[[Sequence[Feature]], Feature]:
    """As a training's, with the teacher's logits, which are filled up as the tokens are."""
    import numpy as np
    import torch

    labelled = collator(tokenizer, kind == TAGS)

    def collate(features: Sequence[Feature]) -> Feature:
        rest = [{name: value for name, value in feature.items() if name != "teacher"} for feature in features]
        batch = (
            labelled(rest)
            if "labels" in rest[0]
            else dict(tokenizer.pad(rest, padding_side="right", return_tensors="pt"))
        )
        logits = [np.asarray(feature["teacher"]) for feature in features]
        if kind is not None:
            longest = batch["input_ids"].shape[1]
            logits = [np.pad(row, ((0, longest - len(row)), (0, 0))) for row in logits]
        batch["teacher"] = torch.from_numpy(np.stack(logits))
        return batch

    return collate
