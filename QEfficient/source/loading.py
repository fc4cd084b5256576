"""Weights are loaded without transformers' bars and reports, but for whoever watches and for a load that fails."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

from QEfficient import settings
from QEfficient.export.isolated import isolated
from QEfficient.export.process_wide import ProcessWide, one_at_a_time
from QEfficient.progress import is_watched

_M = TypeVar("_M")

_REPORTS = "transformers.modeling_utils"  # the logger of the reports
_REPORT = " LOAD REPORT"

_LOADS = threading.RLock()  # the loading of one may load another

_HELD: ContextVar[list[logging.LogRecord] | None] = ContextVar("reports of the load in this thread", default=None)


@isolated
def load(read: Callable[[], _M]) -> _M:
    """Loads a model, whatever the caller has set in torch.

    transformers draws a bar only for a person who watches. What it reports of weights that are missing or left over is
    checked by ours, and is told only when the load fails, whose error may refer to it. Weights that it fills
    with random numbers are the same at each load, and nobody else's numbers are drawn for them.

    One at a time: transformers switches the tying of weights off for as long as it loads, in its own class. Of two
    loads at once the second would find it off already and leave it so, and each later model of the process would lack
    its tied head.
    """
    from QEfficient.export.random_numbers import OwnRandomNumbers  # torch

    reports: list[logging.LogRecord] = []
    try:
        with one_at_a_time(_LOADS), _kept(reports), _quiet(), OwnRandomNumbers():
            return read()
    except Exception:
        for report in reports:
            logging.getLogger(_REPORTS).handle(report)
        raise


@contextmanager
def quiet() -> Iterator[None]:
    """While it is entered, transformers draws bars for a person who watches only, and reports nothing."""
    with _kept([]), _quiet():
        yield


@contextmanager
def _kept(reports: list[logging.LogRecord]) -> Iterator[None]:
    token = _HELD.set(reports)
    try:
        yield
    finally:
        _HELD.reset(token)


@contextmanager
def _change() -> Iterator[None]:
    from transformers.utils import logging as transformers_logging

    def bar(make: Callable[..., Any], arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        if _HELD.get() is not None and not _bars():
            keywords = {**keywords, "disable": True}
        return make(*arguments, **keywords) if before is None else before(make, arguments, keywords)

    logger = logging.getLogger(_REPORTS)
    before = transformers_logging.set_tqdm_hook(bar)
    try:
        logger.addFilter(_not_held)
        yield
    finally:
        logger.removeFilter(_not_held)
        transformers_logging.set_tqdm_hook(before)


_quiet = ProcessWide(_change)


def _not_held(record: logging.LogRecord) -> bool:
    held = _HELD.get()
    if held is None or _REPORT not in record.getMessage():
        return True
    held.append(record)
    return False


def _bars() -> bool:
    return settings.progress_bars() and is_watched()
