"""Draws: tables and plots as one page to look at, to print and to send, or as text for a terminal.

What is drawn comes as records of :mod:`QEfficient.report.drawing` and :mod:`QEfficient.report.page`; the room knows
nothing of what the figures are about.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

from QEfficient.cache.disk import disk_errors
from QEfficient.cache.files import replace_file
from QEfficient.errors import OptionError
from QEfficient.report import html
from QEfficient.report.page import Page


class HasPage(Protocol):
    """What can be drawn, such as what ``model.analyze()`` finds."""

    def page(self) -> Page:
        """Its figures and tables."""


def report_path(path: str | os.PathLike[str]) -> Path:
    """A checked path for a report: asked before the work that fills it, which takes its time.

    Raises:
        OptionError: It is a folder, or lies in no folder.
    """
    target = Path(path)
    if target.is_dir():
        raise OptionError(
            "The report is one file.",
            got=f"the folder {str(target)!r}",
            allowed="the path of an HTML file",
            do=f"pass {str(target / 'report.html')!r}",
        )
    if not target.parent.is_dir():
        raise OptionError(
            "The report's folder is not there.",
            got=str(target),
            allowed="a path in a folder that exists",
            do=f"make the folder {str(target.parent)!r} first",
        )
    return target


def write_report(found: HasPage, path: str | os.PathLike[str]) -> Path:
    """Writes one HTML page that needs no network and no other file.

    Args:
        found: What ``model.analyze()`` found, or anything else that has a page.
        path: Where the page goes. A file that is there is replaced, and only by a whole page.

    Returns:
        The path.

    Raises:
        OptionError: ``path`` is a folder, or lies in no folder.
        CacheError: The disk is full or can't be written.
    """
    target = report_path(path)
    with disk_errors("The report could not be written.", target):
        replace_file(target, html.render(found.page()).encode("utf-8", "backslashreplace"))
    return target
