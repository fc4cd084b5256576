"""The folder of a training: what run its checkpoints are of, and the last whole one to go on from."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from QEfficient import settings
from QEfficient.cache import content_key
from QEfficient.errors import UsageError
from QEfficient.records import Json
from QEfficient.train.fingerprint import UNKNOWN_LOSS, fingerprint
from QEfficient.train.processes import by_the_first, refuse_unlike
from QEfficient.train.request import TrainRequest

if TYPE_CHECKING:
    from torch import nn

    from QEfficient.evaluate.record import Examples

log = logging.getLogger("QEfficient")

RUN_FILE = "run.json"
"""What the run is made of. Beside it are the checkpoints, named as transformers names them."""

STATE_FILE = "trainer_state.json"
"""What transformers writes last into a checkpoint."""

LOCK_FILE = ".training.lock"
"""Locked by the process that trains here."""

MODEL_FOLDER = "model"
"""Where what was trained is put, and another name from it where that holds another one."""


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Where the checkpoints of one run are.

    Attributes:
        path: The folder.
        checkpoint: The one to go on from; ``None`` starts anew.
        key: Of all that decides what comes out of the run.
        lock: Held while it trains; ``None`` in a process that does not write.
    """

    path: Path
    checkpoint: Path | None
    key: str = ""
    lock: Any = field(default=None, repr=False, compare=False)

    @property
    def finished(self) -> bool:
        """Whether the checkpoint is the last of a whole run: transformers would take another step from it."""
        if self.checkpoint is None:
            return False
        state = json.loads((self.checkpoint / STATE_FILE).read_text(encoding="utf-8"))
        control = state.get("stateful_callbacks", {}).get("TrainerControl", {}).get("args", {})
        return bool(state["global_step"] >= state["max_steps"] or control.get("should_training_stop"))

    def release(self) -> None:
        """Lets others train here."""
        if self.lock is not None:
            self.lock.release()


def run_folder(
    request: TrainRequest, model: nn.Module, read: Mapping[str, Json], train: Examples, held_out: Examples | None
) -> RunFolder:
    """Finds or makes the folder of a run, and locks it until the training has ended.

    Of several processes the first one writes; all find the same.

    Args:
        request: How to train.
        model: What is trained, as it is before. Its weights and its config are part of what the run is.
        read: How texts are read for it, and what stands behind it: see :mod:`QEfficient.train.fingerprint`.
        train: The rows.
        held_out: Those that are held out.

    Raises:
        UsageError: The caller's folder holds what another run or nobody known has made; or checkpoints of this one, and
            is not to be gone on from; or another training writes there; or the loss can't be told again.
    """
    run = fingerprint(request, model, read, train, held_out)
    key = content_key(run)
    _check_loss(str(run.get("loss", "")), request)
    named = {name: value for name, value in run.items() if not str(value).startswith(UNKNOWN_LOSS)}
    refuse_unlike(named)
    path = request.output_dir or settings.home() / "train" / key
    locks: list[Any] = []  # of the process that writes
    by_the_first(lambda: locks.append(_make_ready(path, run, request)))
    lock = locks[0] if locks else None
    checkpoint = last_checkpoint(path) if request.resume else None
    if checkpoint is not None:
        log.info("training goes on from %s", checkpoint)
    return RunFolder(path, checkpoint, key, lock)


def _check_loss(loss: str, request: TrainRequest) -> None:
    if not loss.startswith(UNKNOWN_LOSS):
        return
    if request.resume:
        raise UsageError(
            "It can't be told whether the loss is that of the checkpoints.",
            got=f"resume=True with loss={request.loss!r}",
            allowed="a loss by name, or a function or class that stands by itself in a module",
            do="define the loss with def at the top of a module, or drop resume",
        )
    if settings.training_processes() > 1 and request.output_dir is None:
        raise UsageError(
            "Several processes can't find the folder of a run whose loss has no name of its own.",
            got=f"loss={request.loss!r} without output_dir",
            allowed="a loss that stands by itself in a module, or an output_dir",
            do="pass output_dir",
        )


def _make_ready(path: Path, run: Mapping[str, Json], request: TrainRequest) -> Any:
    """Leaves the folder with this run's file, and no checkpoints unless it goes on from them. Gives its lock."""
    _check_folder(path, run, request)
    path.mkdir(parents=True, exist_ok=True)
    lock = _locked(path)
    try:
        _check_folder(path, run, request)
        if not request.resume:
            for checkpoint in path.glob("checkpoint-*"):
                shutil.rmtree(checkpoint)  # of the very same run, below our own home
        else:
            for checkpoint in path.glob("checkpoint-*"):
                _bring_home(checkpoint)
        _write(path / RUN_FILE, run)
    except BaseException:
        lock.release()
        raise
    return lock


def _check_folder(path: Path, run: Mapping[str, Json], request: TrainRequest) -> None:
    """Refuses a folder of the caller's in which something else would be overwritten, or taken for this run's."""
    file = path / RUN_FILE
    before = _read(file)
    held = [*sorted(path.glob("checkpoint-*")), *(path / name for name in (MODEL_FOLDER, RUN_FILE))]
    held = [one for one in held if one.exists()]
    if held and (before is None or content_key(before) != content_key(run)):
        if before is None:
            got = f"{held[0]}, and no {RUN_FILE} that says what run it is of"
        else:
            names = ", ".join(name for name in {**before, **run} if before.get(name) != run.get(name))
            got = f"another {names} than in {file}"
        raise UsageError(
            "The folder holds what another run has made, so this one can neither go on from it nor write there.",
            got=got,
            allowed="a folder without a model, a run.json or checkpoints; or one of the same model, rows and keywords",
            do="call it as before on the model as it was loaded, or choose another output_dir",
        )
    if not request.resume and request.output_dir is not None and last_checkpoint(path) is not None:
        raise UsageError(
            "The folder holds checkpoints of an earlier run.",
            got=str(path),
            allowed="a folder without checkpoints, or resume=True to go on from them",
            do="choose another output_dir, remove the checkpoints, or pass resume=True",
        )


def _read(file: Path) -> dict[str, Json] | None:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _write(file: Path, content: Mapping[str, Json]) -> None:
    part = file.with_name(f"{file.name}.{os.getpid()}.part")
    part.write_text(json.dumps(content, indent=1), encoding="utf-8")
    part.replace(file)


def _locked(path: Path) -> Any:
    from filelock import FileLock, Timeout

    lock = FileLock(path / LOCK_FILE, thread_local=False)  # it is let go from whatever thread the training ends in
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise UsageError(
            "Another training writes to this folder.",
            got=str(path),
            allowed="one training in a folder at a time",
            do="wait until it has ended, or choose another output_dir",
        ) from error
    return lock


def _bring_home(checkpoint: Path) -> None:
    """Lets a checkpoint name the best one where it is now: the folder may have been moved since."""
    state = _read(checkpoint / STATE_FILE)
    best = None if state is None else state.get("best_model_checkpoint")
    if state is None or best is None or Path(best).parent == checkpoint.parent:
        return
    here = checkpoint.parent / Path(best).name
    if not here.is_dir():
        raise UsageError(
            "The checkpoint with the best weights is missing.",
            got=f"{checkpoint} names {best}",
            allowed=f"the folder {here.name} beside {checkpoint.name}",
            do="move the whole folder, or train anew in another output_dir",
        )
    _write(checkpoint / STATE_FILE, state | {"best_model_checkpoint": str(here)})


def last_checkpoint(path: Path) -> Path | None:
    """The last whole checkpoint of a folder: a process may have been killed while it wrote the one behind it."""
    steps = {folder: folder.name.removeprefix("checkpoint-") for folder in path.glob("checkpoint-*")}
    numbered = {folder: int(step) for folder, step in steps.items() if step.isdecimal()}
    return next((folder for folder in sorted(numbered, key=numbered.__getitem__, reverse=True) if _whole(folder)), None)


def _whole(folder: Path) -> bool:
    return _read(folder / STATE_FILE) is not None
