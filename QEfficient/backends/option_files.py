"""Files that options name, as a part of the program: it reads nothing outside of its folder, wherever that is moved."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from QEfficient.backends.refusals import no_file

FOLDER = "options"


def copied_files(files: Mapping[str, Path], workdir: Path) -> dict[str, Path]:
    """Copies of the option files in the program's folder: name → path relative to it.

    Raises:
        OptionError: A file is gone.
    """
    if files:
        (workdir / FOLDER).mkdir()
    copies = {}
    for position, (name, source) in enumerate(files.items()):
        if not source.is_file():
            raise no_file(name, source)
        copies[name] = Path(FOLDER) / f"{position}-{source.name}"
        (workdir / copies[name]).write_bytes(source.read_bytes())
    return copies
