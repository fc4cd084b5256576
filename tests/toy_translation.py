"""A Marian model that translates numbers into words, and what it was never trained on.

``examples/toy_translation.py`` makes it on first use, through our own training. It is kept in ``.data/`` of the
checkout, in a folder that is named by the script's content, so that a change of it makes another model.
"""

from __future__ import annotations

import hashlib
import runpy
import shutil
from functools import cache
from pathlib import Path
from typing import Any

from filelock import FileLock

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "examples" / "toy_translation.py"


@cache
def script() -> dict[str, Any]:
    """What the script defines."""
    return runpy.run_path(str(SCRIPT))


def folder() -> Path:
    """The model's folder; makes it where it is not there, in about two minutes of one CPU."""
    digest = hashlib.sha256(SCRIPT.read_bytes()).hexdigest()[:12]
    kept = ROOT / ".data" / f"toy-translation-{digest}"
    kept.parent.mkdir(exist_ok=True)
    with FileLock(kept.parent / "toy-translation.lock"):  # tests run side by side
        if not kept.is_dir():
            partial = kept.with_suffix(".partial")
            shutil.rmtree(partial, ignore_errors=True)
            script()["write"](partial)
            partial.replace(kept)
    return kept


@cache
def held_out() -> tuple[tuple[str, str], ...]:
    """2,000 sources and targets that it was never trained on: 1,000 numbers in two languages."""
    return tuple(script()["pairs"](script()["split"]()[1]))


if __name__ == "__main__":
    print(folder())
