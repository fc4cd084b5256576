"""Two pipelines give the same answers, and nothing is logged on the way."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

TOLERANCE = 1e-4


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
    messages = [record.getMessage() for record in said]
    assert not messages, "\n".join(messages)


def same(got: Any, expected: Any) -> None:
    """Equal, and numbers within :data:`TOLERANCE`."""
    if isinstance(expected, dict):
        assert got.keys() == expected.keys()
        for key in expected:
            same(got[key], expected[key])
    elif isinstance(expected, list | tuple):
        assert len(got) == len(expected)
        for one, other in zip(got, expected, strict=True):
            same(one, other)
    elif isinstance(expected, float | np.floating):
        assert abs(got - expected) <= TOLERANCE
    else:
        assert got == expected
