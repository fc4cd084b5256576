"""What users write, name by name: every public class and its public methods with their parameters and defaults.

`QEFF_GOLDEN=write` writes the golden file anew; its difference is then read as what breaks for users.
"""

from __future__ import annotations

import inspect
import os
from importlib import import_module
from pathlib import Path

import QEfficient

GOLDEN = Path(__file__).parents[1] / "golden" / "public_surface.txt"
VENDOR_PATHS = ("QEfficient.transformers.models.modeling_auto", "QEfficient.generation.cloud_infer")
SPECIAL = ("__init__", "__call__", "__enter__", "__exit__", "__len__")


def signature(function: object) -> str:
    """Parameters with their kinds and defaults. Annotations are ours to change: they name records of the library."""
    found = inspect.signature(function)  # type: ignore[arg-type]
    bare = [one.replace(annotation=inspect.Parameter.empty) for one in found.parameters.values()]
    return str(inspect.Signature(bare))


def members(kind: type) -> list[str]:
    """One line a public member that a class of this library defines."""
    lines = []
    for name in sorted(dir(kind)):
        home = next(base for base in kind.__mro__ if name in vars(base))
        if not home.__module__.startswith("QEfficient") or (name.startswith("_") and name not in SPECIAL):
            continue
        raw = vars(home)[name]
        if isinstance(raw, classmethod | staticmethod):
            lines.append(f"{kind.__name__}.{name}{signature(getattr(kind, name))}  # {type(raw).__name__}")
        elif callable(raw):
            lines.append(f"{kind.__name__}.{name}{signature(raw)}")
        else:
            lines.append(f"{kind.__name__}.{name}" + "  # property" * isinstance(raw, property))
    return lines


def surface() -> str:
    """The whole of it, as the golden file has it."""
    lines = [f"QEfficient.{name}" for name in QEfficient.__all__]
    lines += [f"{path}.{name}" for path in VENDOR_PATHS for name in import_module(path).__all__]
    kinds = [getattr(QEfficient, name) for name in QEfficient.__all__]
    lines += [line for kind in kinds if isinstance(kind, type) for line in members(kind)]
    return "\n".join(lines) + "\n"


def test_names_and_signatures_stay() -> None:
    found = surface()
    if os.environ.get("QEFF_GOLDEN") == "write":
        GOLDEN.write_text(found)
    assert found.splitlines() == GOLDEN.read_text().splitlines()
