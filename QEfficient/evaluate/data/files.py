"""Data sets that are files: JSONL, JSON, CSV, TSV, parquet."""

from __future__ import annotations

import csv
import importlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from threading import Lock
from typing import Any

from QEfficient.errors import InputError, MissingExtraError, unknown
from QEfficient.evaluate.data.table import DataTable, once

_PARQUET = ("pyarrow.parquet", "polars", "pandas")  # the first that is there reads it
_LONGEST = 2**31 - 1  # characters of a field of a CSV file: all that the module's limit goes up to everywhere
_LIMIT = Lock()  # the module's limit is the process's: one file at a time changes it


def read_file(path: str | os.PathLike[str], limit: int | None = None) -> Any:
    """What a file holds, by its suffix.

    Args:
        path: A ``.jsonl``, ``.ndjson``, ``.json``, ``.csv``, ``.tsv`` or ``.parquet`` file.
        limit: The most rows to read of a file that is read row by row.

    Returns:
        What :func:`QEfficient.evaluate.data.sources.table_of` reads: a list of mappings, a mapping, or a table.

    Raises:
        InputError: There is no such file, its suffix is unknown, or it is broken; of a broken line it gives the number.
        MissingExtraError: No package that reads parquet is installed.
    """
    file = Path(path)
    if not file.is_file():
        raise InputError(
            "This is a folder, not a file with data." if file.is_dir() else "There is no file at this path.",
            got=str(file),
            allowed=f"the path of a file that is there: {', '.join(_READERS)}",
            do="check the path; a data set of a hub is loaded first: datasets.load_dataset(name, split=…)",
        )
    suffix = file.suffix.lower()
    if suffix not in _READERS:
        raise unknown(
            InputError,
            f"Files that end in {suffix!r} can't be read.",
            str(file),
            _READERS,
            do="save it as one of these, or read it yourself and pass the rows",
        )
    try:
        return _READERS[suffix](file, limit)
    except UnicodeDecodeError as error:
        raise InputError(
            "The file is not in UTF-8.",
            got=f"{file}: {error.reason} at byte {error.start}",
            allowed="text in UTF-8",
            do="save it in UTF-8, or read it yourself and pass the rows",
        ) from error
    except OSError as error:
        raise InputError(
            "The file can't be read.", got=f"{file}: {error}", allowed="a file that can be read", do="check its rights"
        ) from error


def _jsonl(file: Path, limit: int | None) -> Any:
    rows: list[Any] = []
    with file.open(encoding="utf-8-sig") as lines:
        for place, line in enumerate(lines, 1):
            if not line.strip():
                continue
            if limit is not None and len(rows) >= limit:
                break
            try:
                row = json.loads(line)
            except ValueError as error:
                raise _broken(file, place, f"{error}: {line.strip()[:60]!r}", "JSON") from error
            if not isinstance(row, dict):
                raise _broken(file, place, repr(row)[:60], "a JSON object")
            rows.append(row)
    return rows


def _json(file: Path, limit: int | None) -> Any:
    text = file.read_text(encoding="utf-8-sig")
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":  # an object a line, under another suffix
            return _jsonl(file, limit)
        raise _broken(file, error.lineno, error.msg, "JSON") from error
    if not isinstance(found, (list, dict)):
        raise _broken(file, 1, repr(found)[:60], "a list of rows, or an object of columns")
    return found


def _separated(separator: str) -> Callable[[Path, int | None], Any]:
    def read(file: Path, limit: int | None) -> Any:
        with _any_length(), file.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.reader(lines, delimiter=separator, strict=True)
            try:
                filled = (row for row in reader if row)
                header = next(filled, [])
                rows = []
                for row in islice(filled, limit):
                    if len(row) != len(header):
                        got = f"{len(row)} fields, and {len(header)} columns: {', '.join(header)}"
                        raise _broken(file, reader.line_num, got, "as many fields as the first line has")
                    rows.append(row)
            except csv.Error as error:
                raise _broken(file, reader.line_num, str(error), "fields in quotes as RFC 4180 has them") from error
        places = {name: place for place, name in enumerate(once(header, "file"))}
        return DataTable(
            tuple(header),
            len(rows),
            lambda name: [row[places[name]] for row in rows],
            f"file {file.name}",
            written=True,
        )

    return read


@contextmanager
def _any_length() -> Iterator[None]:
    """A CSV file's fields may be longer than the 131,072 characters of the module's own limit, which is put back."""
    with _LIMIT:
        before = csv.field_size_limit(_LONGEST)
        try:
            yield
        finally:
            csv.field_size_limit(before)


def _parquet(file: Path, limit: int | None) -> Any:
    for package in _PARQUET:
        try:
            module = importlib.import_module(package)
        except ModuleNotFoundError as error:
            if error.name != package.partition(".")[0]:
                raise
            continue
        try:
            return (module.read_table if package == _PARQUET[0] else module.read_parquet)(file)
        except (ValueError, OSError) as error:  # pyarrow's own are ValueErrors
            raise InputError(
                "The file is no parquet file, or it is broken.",
                got=f"{file}: {error}",
                allowed="a parquet file",
                do="write it again",
            ) from error
    raise MissingExtraError(
        "Parquet files are read with pyarrow, which is not installed.",
        got="no package pyarrow, polars or pandas",
        allowed="one of them",
        do='pip install "QEfficient[evaluate]"',
    )


def _broken(file: Path, line: int, got: str, allowed: str) -> InputError:
    return InputError(
        f"Line {line} of the file can't be read.",
        got=f"{file}: {got}",
        allowed=allowed,
        do="mend the line, or leave it out",
    )


_READERS: dict[str, Callable[[Path, int | None], Any]] = {
    ".jsonl": _jsonl,
    ".ndjson": _jsonl,
    ".json": _json,
    ".csv": _separated(","),
    ".tsv": _separated("\t"),
    ".parquet": _parquet,
}
