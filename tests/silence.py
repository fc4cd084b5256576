"""Hears what is logged."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def silence() -> Iterator[None]:
    """Nothing is logged at WARNING or above: not by transformers, whose logger does not propagate, nor by anyone else.

    ``warnings`` are errors in every test.
    """
    said: list[logging.LogRecord] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = said.append  # type: ignore[method-assign]
    loggers = [logging.getLogger(name) for name in (None, "transformers", "QEfficient")]
    for logger in loggers:
        logger.addHandler(handler)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeHandler(handler)
    assert not [record.getMessage() for record in said]
