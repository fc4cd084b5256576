"""Several processes that train one model: what the first does for all of them, and that none waits for one that failed.

Each of them calls ``fine_tune`` with the same rows, model and keywords, as ``torch.distributed.run`` starts them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from QEfficient import settings
from QEfficient.errors import QEfficientError, UsageError
from QEfficient.records import Json

_R = TypeVar("_R")


def backend() -> str | None:
    """What the processes of a machine without a GPU talk by; ``None`` leaves it to accelerate, or is one process.

    In one process it would ask for a process group that nobody has made.
    """
    import torch

    return None if torch.cuda.is_available() or settings.training_processes() == 1 else "gloo"


def by_the_first(work: Callable[[], _R]) -> _R:
    """Does something in the first process, while the others wait for it.

    Args:
        work: What only one may do. What it gives is pickled for the others.

    Returns:
        What it gave, in every process.

    Raises:
        QEfficientError: What it raised, in every process; in the others a ``UsageError`` tells of any other error.
    """
    if settings.training_processes() == 1:
        return work()
    _join()
    told: list[Any] = [None]
    if settings.training_rank() == 0:
        try:
            told = [(work(), None)]
        except BaseException as error:
            _broadcast([(None, _portable(error))])
            raise
    made, failed = _broadcast(told)
    if failed is not None:
        raise failed
    found: _R = made
    return found


def refuse_unlike(run: Mapping[str, Json]) -> None:
    """Refuses to train where the processes were given different things.

    Args:
        run: What decides the weights that come out, as this process has it.

    Raises:
        UsageError: Another process has another model, other rows or other keywords. Every process raises it.
    """
    if settings.training_processes() == 1:
        return
    import torch

    _join()
    runs: list[Any] = [None] * settings.training_processes()
    torch.distributed.all_gather_object(runs, dict(run))
    for rank, other in enumerate(runs):
        names = [name for name in {**runs[0], **other} if runs[0].get(name) != other.get(name)]
        if names:
            raise UsageError(
                "The processes were given different things to train.",
                got=f"another {', '.join(names)} in process {rank} than in process 0",
                allowed="the same model, rows and keywords in each; each takes its own part of the rows by itself",
                do="read the same rows in the same order everywhere, with a seed where they are shuffled",
            )


def _join() -> None:
    """Meets the others, as transformers would when its trainer is made."""
    import torch
    from accelerate import PartialState  # type: ignore[import-untyped]

    if not torch.distributed.is_initialized():
        own = backend()
        PartialState(**({} if own is None else {"cpu": True, "backend": own}))


def _broadcast(told: list[Any]) -> Any:
    import torch

    torch.distributed.broadcast_object_list(told)
    return told[0]


def _portable(error: BaseException) -> Exception:
    """The error as another process can raise it."""
    if isinstance(error, QEfficientError):
        return error  # these can be pickled
    return UsageError(
        "The first of the processes failed, and the others can't go on without it.",
        got=f"{type(error).__name__}: {error}",
        allowed="a first process that can write into output_dir",
        do="see what that process says",
    )
