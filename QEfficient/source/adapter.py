"""Adapters in PEFT's format: a few weights that change a base model's. Which files they are; no torch.

A folder holds an adapter beside the base's weights, or alone, and then its config names the base. Whoever reads the
base alone gets other vectors without a word, so that a folder with an adapter is never read as if it had none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from QEfficient import hub
from QEfficient.errors import LoadError
from QEfficient.records import Json

_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")  # in the order in which PEFT looks


@dataclass(frozen=True, slots=True)
class Adapter:
    """An adapter's files.

    Attributes:
        folder: Where they are.
        base: The folder of the model that it changes.
        files: Its config and its weights; with the base's they decide the merged weights.
    """

    folder: Path
    base: Path
    files: tuple[Path, ...]


def find_adapter(files: hub.ModelFiles, folder: Path, where: Mapping[str, Any]) -> Adapter:
    """The adapter in a model's folder, which holds its config, and its base.

    As transformers has it: a local folder that holds a whole model is the base itself, any other adapter's base is the
    one that its config names.

    Args:
        files: As ``hub.resolve`` found them.
        folder: The model's own folder among them.
        where: How ``hub.resolve`` found them: keywords that count for the base too. ``revision`` and ``subfolder`` are
            the adapter's; a revision of the base stands in its config.

    Raises:
        LoadError: A file is missing or malformed, or the base can't be found.
    """
    path = folder / hub.ADAPTER_CONFIG
    config = hub.read_json(path)
    if not isinstance(config, dict) or not isinstance(config.get("peft_type"), str):
        raise LoadError(
            "The folder holds an adapter, but not one in PEFT's format.",
            got=str(path),
            allowed="an adapter_config.json with a peft_type, as peft's save_pretrained writes it",
            do="merge the adapter with the library that made it and save the whole model, or remove the file "
            "if the weights beside it are to be used as they are",
        )
    weights = next((folder / name for name in _WEIGHTS if (folder / name).is_file()), None)
    if weights is None:
        raise LoadError(
            "The folder holds an adapter's config, but not its weights.",
            got=str(path),
            allowed=" or ".join(_WEIGHTS) + f" beside {hub.ADAPTER_CONFIG}",
            do="download the model again with force_download=True, or remove the file if the weights beside it are "
            "to be used as they are",
        )
    own = files.repo_id is None and _is_whole(folder)
    return Adapter(folder, folder if own else _base(files.name, config, where), (path, weights))


def _is_whole(folder: Path) -> bool:
    """Whether the folder holds a whole model: its config, and weights or their index."""
    weights = [*folder.glob("model.safetensors*"), *folder.glob("pytorch_model.bin*")]
    return (folder / "config.json").is_file() and bool(weights)


def _base(name: str, config: Mapping[str, Json], where: Mapping[str, Any]) -> Path:
    """The folder of the base that an adapter's config names."""
    base = config.get("base_model_name_or_path")
    if not isinstance(base, str) or not base:
        raise LoadError(
            f"The adapter {name!r} does not name its base model.",
            got=f"base_model_name_or_path={base!r} in {hub.ADAPTER_CONFIG}",
            allowed="a hub id, or the path of a folder",
            do="write the base's id or path there",
        )
    options = {key: value for key, value in where.items() if key not in ("revision", "subfolder")}
    try:
        found = hub.resolve(base, hub.Where(revision=config.get("revision"), **options)).folder
    except LoadError as error:
        raise LoadError(
            f"The base model of the adapter {name!r} can't be found. {error.what}",
            got=f"base_model_name_or_path={base!r}: {error.got}",
            allowed=error.allowed,
            do=f"{error.do}; or correct base_model_name_or_path in {hub.ADAPTER_CONFIG}",
        ) from error
    if (found / hub.ADAPTER_CONFIG).is_file() or hub.is_program(found):
        raise LoadError(
            f"The base of the adapter {name!r} is no plain model.",
            got=f"{base!r}, which is {'a saved program' if hub.is_program(found) else 'an adapter itself'}",
            allowed="a model with config.json and all its weights",
            do="merge the base's own adapter first (peft: merge_and_unload) and save it, then name that folder",
        )
    return found
