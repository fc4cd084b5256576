"""The file that tells the card's compiler which nodes run in fp16 and which in fp32 (``-node-precision-info``).

A YAML mapping of two lists, ``FP16NodeInstanceNames`` and ``FP32NodeInstanceNames``. A node is named by its first
output. An older manual of the vendor knows only the first list.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from QEfficient.errors import OptionError, nearest

_FP16, _FP32 = "FP16NodeInstanceNames", "FP32NodeInstanceNames"
_SHAPE = f"a mapping with {_FP16} and {_FP32}, each a list of first output names"


@dataclass(frozen=True, slots=True)
class PrecisionFile:
    """First output names of the nodes that are to run in fp16 and in fp32; a node in neither runs as the rest does."""

    fp16: frozenset[str] = frozenset()
    fp32: frozenset[str] = frozenset()


def read(path: Path) -> PrecisionFile:
    """Reads a node-precision file.

    Raises:
        OptionError: It can't be read, is not such a file, or puts a node into both lists.
    """
    try:
        # every scalar stays text: exporters have named values 417, and a reader in C++ knows no other type
        found = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.BaseLoader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise _bad(path, " ".join(str(error).split())) from error
    found = {} if found is None else found  # the file is empty
    if not isinstance(found, dict):
        raise _bad(path, f"a {type(found).__name__}")
    unknown = [str(key) for key in found if key not in (_FP16, _FP32)]
    if unknown:
        raise _bad(path, f"the key {unknown[0]!r}.{nearest(unknown[0], (_FP16, _FP32))}")
    result = PrecisionFile(_names(path, found, _FP16), _names(path, found, _FP32))
    both = sorted(result.fp16 & result.fp32)
    if both:
        raise _bad(path, f"{', '.join(both)} in both lists")
    return result


def write(path: Path, *, fp32: Collection[str] = (), fp16: Collection[str] = ()) -> None:
    """Writes a node-precision file; the names are sorted, so that equal lists give equal bytes.

    Args:
        path: The file; one that is there is replaced.
        fp32: First output names of nodes that are to run in fp32. A list without names is left out.
        fp16: The same for fp16.

    Raises:
        OptionError: A name stands in both lists.
    """
    both = sorted({*fp32} & {*fp16})
    if both:
        raise _bad(path, f"{', '.join(both)} in both lists")
    lists = {_FP16: sorted({*fp16}), _FP32: sorted({*fp32})}
    filled = {key: names for key, names in lists.items() if names}
    path.write_text(yaml.safe_dump(filled, sort_keys=True, width=120, default_flow_style=False), encoding="utf-8")


def check_names(names: Collection[str], known: Collection[str], where: str) -> None:
    """Refuses names that are no node of the graph: the compiler would ignore them in silence.

    Args:
        names: First output names.
        known: First output names of all of the graph's nodes.
        where: Who named them, for the message.

    Raises:
        OptionError: Names the first of them, and the nearest that the graph has.
    """
    unknown = sorted({*names} - {*known})
    if unknown:
        raise OptionError(
            f"{where} names a node that the graph does not have: {unknown[0]!r}.{nearest(unknown[0], sorted(known))}",
            got=", ".join(unknown[:10]) + (f" and {len(unknown) - 10} more" if len(unknown) > 10 else ""),
            allowed="the first output names of this graph's nodes",
            do="make the file for this graph: another export may give other names",
        )


def _names(path: Path, found: dict[Any, Any], key: str) -> frozenset[str]:
    names = found.get(key) or []
    if not isinstance(names, list):
        raise _bad(path, f"{key} is a {type(names).__name__}")
    if not all(isinstance(name, str) for name in names):
        raise _bad(path, f"{key} holds what is no name")
    return frozenset(names)


def _bad(path: Path, got: str) -> OptionError:
    return OptionError(
        f"{path.name} can't be used as a node-precision file.",
        got=got,
        allowed=_SHAPE,
        do="correct the file, or let doctor() write one for this graph",
    )
