"""The report: one page with every figure of an analysis, to look at, to print and to send."""

from __future__ import annotations

import os
from pathlib import Path

from QEfficient.analysis.record import Analysis
from QEfficient.cache.disk import disk_errors
from QEfficient.cache.files import replace_file
from QEfficient.errors import OptionError


def report_path(path: str | os.PathLike[str]) -> Path:
    """A checked path for a report: asked before the analysis, which takes its time.

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


def write_report(analysis: Analysis, path: str | os.PathLike[str]) -> Path:
    """Writes the analysis as one HTML page that needs no network and no other file.

    Args:
        analysis: What ``model.analyze()`` found.
        path: Where the page goes. A file that is there is replaced, and only by a whole page.

    Returns:
        The path.

    Raises:
        OptionError: ``path`` is a folder, or lies in no folder.
        CacheError: The disk is full or can't be written.
    """
    from QEfficient.analysis.report.page import render

    target = report_path(path)
    with disk_errors("The report could not be written.", target):
        replace_file(target, render(analysis).encode("utf-8", "backslashreplace"))
    return target
