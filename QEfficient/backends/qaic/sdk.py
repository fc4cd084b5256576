"""Finds the card's SDK on this machine: compiler, versions, devices and the Python runtime.

The SDK has two parts that may stand alone: the Apps SDK compiles (x86-64 only), the Platform SDK runs. Its two Python
modules, ``qaicrt`` and ``QAicApi_pb2``, are loaded by file path; ``sys.path`` and ``sys.modules`` stay as they are.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree

from QEfficient import settings
from QEfficient.backends.qaic.group import Group
from QEfficient.cache import file_digest
from QEfficient.errors import StaleProgramError
from QEfficient.records import Program

UNKNOWN = "unknown"
_QUERY_SECONDS = 10  # the vendor's library gives qaic-util as long


@dataclass(frozen=True, slots=True)
class Compiler:
    """A compiler executable. ``qaic-compile`` is the current one, ``qaic-exec`` the older."""

    kind: Literal["qaic-compile", "qaic-exec"]
    path: Path


@dataclass(frozen=True, slots=True)
class Sdk:
    """An SDK tree. Nothing of it need exist."""

    root: Path

    @property
    def compiler(self) -> Compiler | None:
        """``qaic-compile``, else ``qaic-exec``, else ``None``."""
        for kind in ("qaic-compile", "qaic-exec"):
            path = self.root / "exec" / kind
            if path.is_file() and os.access(path, os.X_OK):
                return Compiler(kind, path)
        return None

    @property
    def version(self) -> str:
        """The version that a program is compiled by and checked against: the compiler's, else the runtime's."""
        files = self.root / "versions"
        return _base_version(files / "apps.xml") or _base_version(files / "platform.xml") or UNKNOWN

    @property
    def identity(self) -> str:
        """What the cache key holds: the version, or the compiler's own digest where no file names a version."""
        compiler = self.compiler
        if self.version != UNKNOWN or compiler is None:
            return self.version
        return f"{UNKNOWN} {file_digest(compiler.path)[:16]}"

    @property
    def library_folder(self) -> Path:
        """Where ``qaicrt`` stands."""
        return self.root / "dev" / "lib" / platform.machine()

    @property
    def python_folder(self) -> Path:
        """Where ``QAicApi_pb2.py`` stands."""
        return self.root / "dev" / "python"

    def query(self) -> str | None:
        """What ``qaic-util -q`` prints, or ``None`` where it is absent, fails or takes longer than 10 s."""
        tool = self.root / "tools" / "qaic-util"
        try:
            with Group() as group:
                done = subprocess.run(
                    [str(tool), "-q"],
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    timeout=_QUERY_SECONDS,
                    check=False,
                    process_group=group.id,
                )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.decode(errors="replace") if done.returncode == 0 else None

    def hw_version(self) -> str:
        """The compiler's ``-aic-hw-version``.

        ``qaic-exec`` takes ``2.0`` by its documentation. ``qaic-compile`` gets ``ai200`` when a visible device's
        firmware is an AIC200 image, else ``ai100``, as the vendor's library decides.
        """
        compiler = self.compiler
        if compiler is not None and compiler.kind == "qaic-exec":
            return "2.0"
        lines = [line for record in records(self.query() or "").values() for line in record.splitlines()]
        new = any(line.strip().startswith("FW IMAGE_VARIANT") and "AIC200" in line for line in lines)
        return "ai200" if new else "ai100"


def records(text: str) -> dict[int, str]:
    """What ``qaic-util -q`` says of each visible device: a line ``QID N``, then indented ``Key:Value`` lines.

    Raises:
        UsageError: ``QAIC_VISIBLE_DEVICES`` is no list of ids.
    """
    visible = settings.visible_devices()
    blocks = re.split(r"(?m)^(?=QID \d+)", text)
    found = {int(head[1]): block for block in blocks if (head := re.match(r"QID (\d+)", block))}
    return {number: block for number, block in found.items() if visible is None or number in visible}


def find() -> Sdk:
    """The SDK that the settings name."""
    return Sdk(settings.qaic_sdk())


def refuse_other_version(program: Program, sdk: Sdk) -> None:
    """Refuse a program that another SDK version compiled: whether the runtime takes it is not documented.

    Raises:
        StaleProgramError: With both versions, and the line that compiles it again.
    """
    if program.manifest.sdk != sdk.version:
        raise StaleProgramError(
            "The program was compiled by another SDK version than the one installed.",
            got=f"compiled by SDK {program.manifest.sdk}, installed is SDK {sdk.version}",
            allowed="the same version",
            do=f"compile it again: model.compile(onnx_path={str(program.onnx_path)!r}, backend='qaic')",
        )


def _base_version(path: Path) -> str | None:
    """The text of the file's ``base_version`` element, wherever it stands in it."""
    try:
        tree = ElementTree.parse(path)
    except (OSError, ElementTree.ParseError):
        return None
    for element in tree.iter():
        if element.tag.rpartition("}")[2] == "base_version" and element.text and element.text.strip():
            return element.text.strip()
    return None
