"""The folder of a training: what run its checkpoints are of, and the last whole one to go on from."""

from __future__ import annotations

import json
import logging
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from QEfficient import settings
from QEfficient.cache import content_key
from QEfficient.errors import UsageError
from QEfficient.records import Json
from QEfficient.train.request import TrainRequest

if TYPE_CHECKING:
    from torch import nn

    from QEfficient.evaluate.record import Examples

log = logging.getLogger("QEfficient")

RUN_FILE = "run.json"
"""What the run is made of. Beside it are the checkpoints, named as transformers names them."""

STATE_FILE = "trainer_state.json"
"""What transformers writes last into a checkpoint."""


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Where the checkpoints of one run are.

    Attributes:
        path: The folder.
        checkpoint: The one to go on from; ``None`` starts anew.
    """

    path: Path
    checkpoint: Path | None

    @property
    def finished(self) -> bool:
        """Whether the checkpoint is the last of a whole run: transformers would take another step from it."""
        if self.checkpoint is None:
            return False
        state = json.loads((self.checkpoint / STATE_FILE).read_text(encoding="utf-8"))
        control = state.get("stateful_callbacks", {}).get("TrainerControl", {}).get("args", {})
        return bool(state["global_step"] >= state["max_steps"] or control.get("should_training_stop"))


def run_folder(request: TrainRequest, model: nn.Module, train: Examples, held_out: Examples | None) -> RunFolder:
    """Finds or makes the folder of a run.

    Of several processes the first one writes; all find the same.

    Args:
        request: How to train.
        model: What is trained, as it is before. Its weights are part of what the run is.
        train: The rows.
        held_out: Those that are held out.

    Raises:
        UsageError: The caller's folder holds checkpoints of another run; or of this one, and is not to be gone on from.
    """
    from QEfficient.source.identity import tensors_digest  # torch

    run: dict[str, Json] = {
        "model": f"{type(model).__name__} {tensors_digest(model)}",
        "how": request.how(),
        "train": train.digest,
        "held_out": None if held_out is None else held_out.digest,
    }
    path = request.output_dir or settings.home() / "train" / content_key(run)
    if settings.training_rank() == 0:
        _make_ready(path, run, request)
    checkpoint = last_checkpoint(path) if request.resume else None
    if checkpoint is not None:
        log.info("training goes on from %s", checkpoint)
    return RunFolder(path, checkpoint)


def _make_ready(path: Path, run: dict[str, Json], request: TrainRequest) -> None:
    file = path / RUN_FILE
    before = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None
    same = before is None or content_key(before) == content_key(run)
    if request.resume and before is not None and not same:
        names = ", ".join(name for name in run if before.get(name) != run[name])
        raise UsageError(
            "The checkpoints are of another run, so this one can't go on from them.",
            got=f"another {names} than in {file}",
            allowed="the same model, rows and keywords as before",
            do="call it as before, or choose another output_dir",
        )
    if not request.resume and last_checkpoint(path) is not None:
        if request.output_dir is not None:
            raise UsageError(
                "output_dir holds checkpoints of an earlier run.",
                got=str(path),
                allowed="a folder without checkpoints, or resume=True to go on from them",
                do="choose another output_dir, remove the checkpoints, or pass resume=True",
            )
        shutil.rmtree(path)  # ours, of the very same run
    path.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(run, indent=1), encoding="utf-8")


def last_checkpoint(path: Path) -> Path | None:
    """The last whole checkpoint of a folder: a process may have been killed while it wrote the one behind it."""
    steps = {folder: folder.name.removeprefix("checkpoint-") for folder in path.glob("checkpoint-*")}
    numbered = {folder: int(step) for folder, step in steps.items() if step.isdecimal()}
    return next((folder for folder in sorted(numbered, key=numbered.__getitem__, reverse=True) if _whole(folder)), None)


def _whole(folder: Path) -> bool:
    try:
        json.loads((folder / STATE_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return True
