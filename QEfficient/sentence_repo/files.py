"""The JSON files of a sentence-transformers repo, and the errors that name what is wrong in one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from QEfficient.errors import LoadError
from QEfficient.hub import broken, inside, malformed, read_json, read_object
from QEfficient.records import Json

# Each in the order in which sentence-transformers looks.
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
_OPTIONS = tuple(
    f"sentence_{name}_config.json"
    for name in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)


@dataclass(frozen=True, slots=True)
class Module:
    """One module of a repo: its class's dotted name, and its folder."""

    type: str
    folder: Path

    @property
    def kind(self) -> str:
        """The class's name where it is sentence-transformers' own, else the dotted name."""
        return self.type.rpartition(".")[2] if self.type.startswith("sentence_transformers.") else self.type

    def config(self, name: str = "config.json", *, missing_ok: bool = False) -> dict[str, Json]:
        """The module's own JSON file."""
        return read_object(self.folder / name, missing_ok=missing_ok)

    def weights(self, repo: Path) -> str:
        """Path of the module's weights below the repo, with ``/``.

        Raises:
            LoadError: There are none.
        """
        for name in _WEIGHTS:
            if (self.folder / name).is_file():
                return (self.folder / name).relative_to(repo).as_posix()
        raise broken(f"A {self.kind} module has no weights.", self.folder, " or ".join(_WEIGHTS))


def read_modules(folder: Path) -> tuple[Module, ...] | None:
    """The entries of ``modules.json``, in order; ``None`` where the folder has none.

    Raises:
        LoadError: It is malformed, or an entry leads out of the folder.
    """
    listing = folder / "modules.json"
    if not listing.is_file():
        return None
    entries = read_json(listing)
    if not isinstance(entries, list) or not all(
        isinstance(entry, dict) and isinstance(entry.get("type"), str) and isinstance(entry.get("path"), str)
        for entry in entries
    ):
        raise malformed(listing, "a list of objects with type and path")
    return tuple(Module(entry["type"], inside(folder, entry["path"], listing)) for entry in entries)


def read_options(folder: Path) -> dict[str, Json]:
    """The Transformer module's config, under the first of its names that holds something."""
    found = (read_object(folder / name) for name in _OPTIONS if (folder / name).is_file())
    return next(filter(None, found), {})


def size(config: Mapping[str, Json], name: str, folder: Path) -> int:
    """A whole number from 1, out of a module's config; JSON's writers may give it a decimal point.

    Raises:
        LoadError: It is missing, or something else.
    """
    value = config.get(name)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise LoadError(
            f"{name} of a sentence-transformers repo is not a size.",
            got=f"{value!r} in {folder}",
            allowed="a whole number from 1",
            do="correct the module's JSON file",
        )
    return value


def size_or_none(config: Mapping[str, Json], name: str, folder: Path) -> int | None:
    """As :func:`size`; ``None`` where the config says nothing."""
    return None if config.get(name) is None else size(config, name, folder)
