"""A trained model as an ordinary repo: of HuggingFace, or of sentence-transformers."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from QEfficient.cache import MANIFEST
from QEfficient.errors import UsageError
from QEfficient.hub import ADAPTER_CONFIG
from QEfficient.source.checkpoint import TRAINING_FILE
from QEfficient.source.loading import quiet
from QEfficient.train.record import Trained

_WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
_MORE_THAN_A_MODEL = (ADAPTER_CONFIG, MANIFEST, ".git", "checkpoint-*")
"""What a folder holds that is not, or not only, a model as it is written here."""

_LENGTHS = (8, 16, 64)
"""Hex digits of a digest that a folder's name may end in: as few as make it another one."""


def save_model(trained: Trained, folder: str | Path) -> Path:
    """Writes the model where ``from_pretrained`` of any of these libraries reads it.

    An embedding model becomes a repo of sentence-transformers, with its pooling, prompts and limit; a reranker one of a
    ``CrossEncoder``; any other one of HuggingFace, with its tokenizer. Beside it stands, as JSON, what it was trained
    from, on what, how, and what it scored.

    It is written beside its place first. A model that stands there is replaced as a whole, with all its files.

    Args:
        trained: The model.
        folder: The folder to write: none yet, an empty one, or one with a model.

    Returns:
        The folder.

    Raises:
        UsageError: What stands at its path is none of these: a file, an adapter, a compiled program, a clone of git,
            checkpoints or anything else. It stays as it is.
    """
    return _put(lambda made: _write(trained, made), folder)


def copy_model(source: str | Path, folder: str | Path) -> Path:
    """Copies the folder of a model as :func:`save_model` writes one: as a whole, or not at all.

    Args:
        source: The model's folder.
        folder: As there.

    Returns:
        As there.

    Raises:
        UsageError: As there.
    """
    return _put(lambda made: shutil.copytree(source, made, dirs_exist_ok=True), folder)


def _put(write: Callable[[Path], object], folder: str | Path) -> Path:
    path = Path(folder).expanduser().absolute()
    place = path.resolve()  # a link stays one
    _check_place(place)
    with _made(write, place) as made:
        if not place.exists():
            made.rename(place)
        elif not any(place.iterdir()):
            for one in made.iterdir():  # the folder itself may be mounted, or somebody's working directory
                shutil.move(one, place / one.name)
        else:
            _check_place(place)
            old = made.with_name(f"{made.name}.old")
            place.rename(old)
            try:
                made.rename(place)
            except BaseException:
                old.rename(place)
                raise
    return path


def keep_model(trained: Trained, folder: Path) -> Path:
    """Writes the model into a folder of its own that nothing ever replaces, for objects that read from there.

    Args:
        trained: The model.
        folder: Its place. Where another model stands there already, it gets a name that ends in a digest of its files.

    Returns:
        The folder; the one that was there, if it holds the very same files.

    Raises:
        UsageError: Files in a folder that is named by their digest were changed.
    """
    return keep_folder(lambda made: _write(trained, made), folder)


def keep_folder(write: Callable[[Path], object], folder: Path) -> Path:
    """As :func:`keep_model`, whatever is written.

    Args:
        write: Writes a model into an empty folder. Where it raises, nothing is kept.
        folder: As there.

    Returns:
        As there.

    Raises:
        UsageError: As there.
    """
    with _made(write, folder) as made:
        digest = _digest(made)
        for place in (folder, *(folder.with_name(f"{folder.name}-{digest[:length]}") for length in _LENGTHS)):
            try:
                made.rename(place)  # it fails where files are, those of another process that came first too
            except OSError:
                if not place.is_dir():
                    raise
                if _digest(place) != digest:
                    continue
            return place
    raise UsageError(
        "The folders for the model hold other files than those that they are named by.",
        got=str(place),
        allowed="folders that nobody has changed",
        do="remove them, or choose another output_dir",
    )


def _check_place(path: Path) -> None:
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return
    if not path.is_dir():
        raise UsageError(
            "A file stands where the model is to be saved.", got=str(path), allowed="a folder", do="choose another path"
        )
    more = [name for name in _MORE_THAN_A_MODEL if any(path.glob(name))]
    plain = (path / "config.json").is_file() and any(one for name in _WEIGHTS for one in path.glob(name))
    if more or not plain:
        raise UsageError(
            "What stands in the folder would be lost, or be mixed up with the model that is to be saved there.",
            got=f"{path} with {more[0]}" if more else f"{path}, which holds no config.json with weights beside it",
            allowed="a new or empty folder, or one with a model and nothing else, which is replaced",
            do="choose another folder, or remove this one",
        )


@contextmanager
def _made(write: Callable[[Path], object], beside: Path) -> Iterator[Path]:
    """The model in a folder beside its place; what was not moved from there is gone afterwards."""
    missing = [one for one in beside.parents if not one.exists()]
    try:
        beside.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=beside.parent, prefix=f".{beside.name}-", suffix=".part") as around:
            path = Path(around) / "model"
            path.mkdir()  # with the rights that any folder has
            write(path)
            yield path
    except BaseException:
        with suppress(OSError):  # others may have put something there since
            for one in missing:
                one.rmdir()
        raise


def write_model(path: Path, module: Any, wrapper: Any, tokenizer: Any) -> None:
    """Writes a model as a repo.

    Args:
        path: An empty folder.
        module: HuggingFace's.
        wrapper: The ``SentenceTransformer`` or ``CrossEncoder`` around it, which is written with it; or ``None``.
        tokenizer: HuggingFace's; of images and clips what reads these.
    """
    with quiet():
        if wrapper is not None:
            wrapper.save_pretrained(str(path), create_model_card=False)
        else:
            module.save_pretrained(path)
            tokenizer.save_pretrained(path)


def _write(trained: Trained, path: Path) -> None:
    write_model(path, trained.module, trained.wrapper, trained.tokenizer)
    (path / TRAINING_FILE).write_text(json.dumps(trained.facts(), indent=1), encoding="utf-8")


def _digest(folder: Path) -> str:
    """Of all its files, by name and content."""
    found = hashlib.sha256()
    for file in sorted(one for one in folder.rglob("*") if one.is_file()):
        with file.open("rb") as stream:
            content = hashlib.file_digest(stream, "sha256").hexdigest()
        found.update(f"{file.relative_to(folder).as_posix()} {content}\n".encode())
    return found.hexdigest()
