"""An id or a path → a folder with a model's files.

Without a network this room reads the hub's cache by itself: importing huggingface_hub's download machinery costs more
time than everything else that a warm start does. The layout (``refs``, ``snapshots``, ``trees``) is described in
huggingface_hub's guide to its cache and in its module ``_tree_cache``.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from QEfficient import progress, settings
from QEfficient.cache import MANIFEST
from QEfficient.cache.disk import refusal
from QEfficient.errors import LoadError, nearest
from QEfficient.records import Json

ADAPTER_CONFIG = "adapter_config.json"  # of peft: beside it stand weights that change those of a base model

# Patterns as fnmatch reads them: "*" crosses "/". 1_Pooling and query_0_Dense are folders of sentence-transformers.
_SMALL_FILES = (
    "config*.json",
    "tokenizer*",
    "special_tokens_map.json",
    *("generation_config.json", "chat_template*"),
    "added_tokens.json",
    "vocab*",
    "merges.txt",
    "*processor_config.json",
    "*.model",
    "*.spm",
    "*.codes",
    "*.tiktoken",
    "*.py",
    "modules.json",
    "sentence_*_config.json",
    "[0-9]*_*/*.json",
    "[0-9]*_*/*.txt",
    "router_config.json",
    "*_[0-9]*_*/*.json",
    "*_[0-9]*_*/*.txt",
    ADAPTER_CONFIG,
    MANIFEST,
)
_SAFETENSORS = (
    *("model*.safetensors", "model.safetensors.index.json", "adapter_model.safetensors"),
    *("[0-9]*_*/model*.safetensors", "*_[0-9]*_*/model*.safetensors"),
    *("[0-9]*_*/adapter_model.safetensors", "*_[0-9]*_*/adapter_model.safetensors"),
)
_TORCH_FILES = ("pytorch_model*.bin", "pytorch_model.bin.index.json")
_IGNORED = ("model.*.safetensors", "onnx/*", "openvino/*", ".*")  # variants such as model.fp16.safetensors
_WITH_WEIGHTS = (".Dense", ".LayerNorm", ".Transformer", ".WeightedLayerPooling")  # modules of sentence-transformers
_REPO_ID = re.compile(r"\w[\w.-]{0,95}(/\w[\w.-]{0,95})?")
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """Where a model's files stand.

    Attributes:
        folder: Absolute path of the folder; inside the hub's cache its files are links.
        name: The id or path, as the user gave it.
        repo_id: The hub's id; ``None`` for a local folder.
        commit: The snapshot's commit; ``None`` for a local folder.
    """

    folder: Path
    name: str
    repo_id: str | None = None
    commit: str | None = None


@dataclass(frozen=True, slots=True)
class Where:
    """Which files of a model are meant, and where they are looked for: keywords of ``from_pretrained``.

    Attributes:
        revision: Branch, tag or commit; ``main`` when left out.
        token: Access token; ``True`` takes the stored one.
        cache_dir: The hub's cache; else ``HF_HUB_CACHE``, as huggingface_hub reads it.
        local_files_only: Never use the network. ``HF_HUB_OFFLINE`` and ``TRANSFORMERS_OFFLINE`` say the same, and
            ``False`` does not overrule them.
        force_download: Download even what is in the cache.
        subfolder: The model's folder inside the repo or folder.
    """

    revision: str | None = None
    token: str | bool | None = None
    cache_dir: str | os.PathLike[str] | None = None
    local_files_only: bool | None = None
    force_download: bool = False
    subfolder: str = ""


@dataclass(frozen=True, slots=True)
class _Request:
    """What is asked of the hub."""

    repo_id: str
    revision: str
    cache_dir: Path
    subfolder: str
    where: Where
    also: tuple[str, ...] = ()

    @property
    def repo_folder(self) -> Path:
        return self.cache_dir / f"models--{self.repo_id.replace('/', '--')}"

    @property
    def wanted(self) -> list[str]:
        """Patterns of what is fetched of every model."""
        return [*_SMALL_FILES, *_SAFETENSORS, *self.also]

    def patterns(self, names: Sequence[str]) -> list[str]:
        """The patterns, below the subfolder where there is one."""
        return [f"{self.subfolder}/{name}" for name in names] if self.subfolder else list(names)


def resolve(id_or_path: str | os.PathLike[str], where: Where | None = None, *, also: Sequence[str] = ()) -> ModelFiles:
    """Finds a model's files, and downloads them when they are not here.

    Args:
        id_or_path: A folder, or a repo id of the hub. A folder of that name wins.
        where: Which of its files, and where they are looked for.
        also: Names of further files that are wanted, of a repo that has them.

    Raises:
        LoadError: There is no such folder, repo or revision, the network is off and the files are not in the cache,
            or the folder holds no model.
    """
    name = os.fspath(id_or_path)
    where = where or Where()
    inner = _inner_path(where.subfolder)
    local = Path(name).expanduser()
    if name and local.is_dir():
        folder = (local / inner).absolute()
        return ModelFiles(_checked(folder, name), name)
    if local.is_file() or not _REPO_ID.fullmatch(name) or "--" in name or ".." in name:
        raise _no_folder(name, local)
    request = _Request(name, where.revision or "main", _cache_dir(where.cache_dir), inner, where, tuple(also))
    if settings.offline() or where.local_files_only:
        snapshot = _from_cache(request)
    else:
        snapshot = _from_hub(request)
    return ModelFiles(_checked(snapshot / inner, name), name, name, snapshot.name)


def read_json(path: Path) -> Json:
    """The parsed JSON file.

    Raises:
        LoadError: It is missing, unreadable or not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        what, allowed = f"{path.name} can't be read: {error}", "a readable JSON file in UTF-8"
        raise broken(what, path, allowed, first="restore the file, or ") from error


def read_object(path: Path, *, missing_ok: bool = False) -> dict[str, Json]:
    """The JSON object in a file; empty when the file may be missing and is.

    Raises:
        LoadError: It is missing, unreadable or something else.
    """
    if missing_ok and not path.is_file():
        return {}
    content = read_json(path)
    if not isinstance(content, dict):
        raise malformed(path, "a JSON object")
    return content


def read_config(folder: Path) -> dict[str, Json]:
    """The model's ``config.json``.

    Raises:
        LoadError: It is missing, unreadable or not a JSON object.
    """
    return read_object(folder / "config.json")


def language_files(language: object) -> tuple[str, ...]:
    """Names under which a speech model keeps its weights for a language (``target_lang``), as transformers looks."""
    return tuple(f"adapter.{language}.{end}" for end in ("safetensors", "bin")) if isinstance(language, str) else ()


def weight_files(folder: Path) -> tuple[Path, ...]:
    """The files that hold the weights, in the order in which transformers looks for them.

    Safetensors come before ``pytorch_model.bin``. Of a sharded checkpoint: the index, then its shards by name.

    Raises:
        LoadError: There are none, or a shard that the index names is missing.
    """
    for name in ("model.safetensors", "pytorch_model.bin"):
        index = folder / f"{name}.index.json"
        if (folder / name).is_file():
            return (folder / name,)
        if index.is_file():
            return (index, *_shards(index))
    raise LoadError(
        "The folder holds no weights.",
        got=str(folder),
        allowed="model.safetensors, model.safetensors.index.json, pytorch_model.bin or pytorch_model.bin.index.json",
        do="save the model with save_pretrained, or download it again with force_download=True",
    )


def is_program(folder: Path) -> bool:
    """Whether the folder is a saved program: it holds a manifest."""
    return (folder / MANIFEST).is_file()


def inside(folder: Path, relative: str, named_in: Path) -> Path:
    """``folder / relative``, which a file of the model names.

    Raises:
        LoadError: It would lead out of the folder.
    """
    path = PurePosixPath(relative)
    if path.is_absolute() or ".." in path.parts or "\\" in relative:
        raise LoadError(
            f"{named_in.name} names a path outside of the model's folder.",
            got=relative,
            allowed="a path below the folder",
            do=f"correct {named_in}; do not use a model that you don't trust",
        )
    return folder / path


def _shards(index: Path) -> list[Path]:
    content = read_json(index)
    names = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(names, dict) or not names or not all(isinstance(name, str) for name in names.values()):
        raise broken(f"{index.name} has no weight_map.", index, "an object that maps each tensor's name to a file")
    shards = [inside(index.parent, name, index) for name in sorted(set(names.values()))]
    missing = [shard.name for shard in shards if not shard.is_file()]
    if missing:
        got = f"{', '.join(missing[:3])} in {index.parent}"
        what = f"{len(missing)} of {len(shards)} weight files are missing."
        raise broken(what, got, f"every file that {index.name} names")
    return shards


def broken(what: str, got: object, allowed: str, *, first: str = "") -> LoadError:
    """The error for a model whose files lack something; ``first``: what may help before another download."""
    do = f"{first}download the model again with force_download=True"
    return LoadError(what, got=str(got), allowed=allowed, do=do)


def malformed(path: Path, expected: str) -> LoadError:
    """The error for a file that holds something else than expected."""
    return broken(f"{path.name} is malformed.", path, expected, first="restore the file, or ")


def _inner_path(subfolder: str) -> str:
    path = PurePosixPath(subfolder)
    if path.is_absolute() or ".." in path.parts:
        raise LoadError(
            "subfolder leads out of the repo.",
            got=subfolder,
            allowed="a path below the repo, such as 'encoder'",
            do="pass the folder itself as the model's path",
        )
    return "" if str(path) == "." else str(path)


def _cache_dir(given: str | os.PathLike[str] | None) -> Path:
    from huggingface_hub import constants  # light; it knows HF_HUB_CACHE, HF_HOME and the older names

    return Path(given if given is not None else constants.HF_HUB_CACHE).expanduser().absolute()


def _checked(folder: Path, name: str) -> Path:
    """The folder, if it holds a model, a sentence-transformers repo or a program."""
    if any((folder / file).is_file() for file in ("config.json", "modules.json", ADAPTER_CONFIG, MANIFEST)):
        return folder
    found = sorted(entry.name for entry in folder.iterdir())[:8] if folder.is_dir() else None
    raise LoadError(
        f"{name!r} holds no model: config.json is missing." if found is not None else f"{name!r} has no such folder.",
        got=f"{folder} with {', '.join(found) or 'nothing in it'}" if found is not None else str(folder),
        allowed=f"a folder with config.json, modules.json, {ADAPTER_CONFIG} or {MANIFEST}",
        do="name the folder that holds config.json, by path or with subfolder=",
    )


def _no_folder(name: str, local: Path) -> LoadError:
    """The error for a path that is not there and can't be an id either."""
    parent = local.parent
    readable = parent.is_dir() and os.access(parent, os.R_OK | os.X_OK)
    siblings = [entry.name for entry in parent.iterdir() if entry.is_dir()] if readable else []
    return LoadError(
        "There is no such folder, and it is not a repo id of the hub either." + nearest(local.name, siblings),
        got=f"the file {name}" if local.is_file() else name or "an empty string",
        allowed="a folder, or an id such as 'sentence-transformers/all-MiniLM-L6-v2'",
        do="check the spelling; a relative path starts at the current folder",
    )


def _from_cache(request: _Request) -> Path:
    """The cached snapshot's folder, found without a network."""
    if request.where.force_download:
        raise LoadError(
            "force_download needs the network, which is switched off.",
            got=request.repo_id,
            allowed="force_download=False while HF_HUB_OFFLINE, TRANSFORMERS_OFFLINE or local_files_only is set",
            do="leave force_download out, or allow the network",
        )
    commit = request.revision
    ref = request.repo_folder / "refs" / _inner_path(commit)
    if ref.is_file():
        commit = ref.read_text(encoding="utf-8").strip()
    snapshot = request.repo_folder / "snapshots" / commit
    if not _COMMIT.fullmatch(commit) or not snapshot.is_dir():
        raise _not_cached(request)
    missing = _missing(request, commit, snapshot)
    if missing:
        raise LoadError(
            "The cached snapshot is not complete, and the network is switched off.",
            got=f"{request.repo_id} without {', '.join(missing[:3])}",
            allowed="a snapshot that was downloaded to its end",
            do="run once with the network (HF_HUB_OFFLINE=0), so that the rest is downloaded",
        )
    return snapshot


def _missing(request: _Request, commit: str, snapshot: Path) -> list[str]:
    """Wanted files that the cached listing of the commit names and the snapshot lacks.

    A cache without a listing (older versions of huggingface_hub wrote none) is taken as it is.
    """
    listing = request.repo_folder / "trees" / f"{commit}.json"
    if not listing.is_file():
        return []
    content = read_json(listing)
    if not isinstance(content, dict) or content.get("format_version") != 1:
        return []
    wanted = request.patterns(request.wanted)
    ignored = request.patterns(_IGNORED)
    return [
        name
        for name in content["files"]
        if any(fnmatchcase(name, pattern) for pattern in wanted)
        and not any(fnmatchcase(name, pattern) for pattern in ignored)
        and not (snapshot / name).is_file()
    ]


def _not_cached(request: _Request) -> LoadError:
    folders = request.cache_dir.glob("models--*") if request.cache_dir.is_dir() else ()
    cached = sorted(folder.name.removeprefix("models--").replace("--", "/") for folder in folders)
    if request.repo_id in cached:
        found = f"another revision of {request.repo_id}"
    else:
        found = ", ".join(cached[:5]) or "nothing"
    return LoadError(
        "The network is switched off and the model is not in the hub's cache." + nearest(request.repo_id, cached),
        got=f"{request.repo_id} at revision {request.revision}; no folder of that name either",
        allowed=f"what {request.cache_dir} holds: {found}",
        do="run once with the network (HF_HUB_OFFLINE=0, local_files_only=False), or pass the model's folder",
    )


def _from_hub(request: _Request) -> Path:
    """Downloads what is missing and returns the snapshot's folder."""
    snapshot = _download(request, request.wanted)
    folder = snapshot / request.subfolder
    if is_program(folder):
        return _download(request, ["*"])
    more = _torch_patterns(folder)
    # Most repos end here: torch's own format is fetched only where there are no safetensors.
    return _download(request, [*request.wanted, *more]) if more else snapshot


def _torch_patterns(folder: Path) -> list[str]:
    """Patterns of the ``.bin`` files that stand in for safetensors: of the model and of each module with weights."""
    more: list[str] = []
    for kind, path in _module_folders(folder):
        if path and kind.endswith(_WITH_WEIGHTS) and not any((folder / path).glob("model*.safetensors")):
            more += [f"{path}/{name}" for name in _TORCH_FILES]
    for path in ("", *(f"{path}/" for _, path in _module_folders(folder) if path)):
        if (folder / path / ADAPTER_CONFIG).is_file() and not (folder / path / "adapter_model.safetensors").is_file():
            more.append(f"{path}adapter_model.bin")
    if (folder / "config.json").is_file() and not any(folder.glob("model*.safetensors")):
        more += _TORCH_FILES
    return more


def _module_folders(folder: Path) -> list[tuple[str, str]]:
    """Class and folder of each module of a sentence-transformers repo, those below a Router too."""
    modules = read_json(folder / "modules.json") if (folder / "modules.json").is_file() else []
    found: list[tuple[str, str]] = []
    for module in modules if isinstance(modules, list) else ():
        kind, path = str(module.get("type", "")), str(module.get("path", ""))
        found.append((kind, path))
        router = folder / path / "router_config.json"
        types = read_json(router).get("types") if kind.endswith((".Router", ".Asym")) and router.is_file() else {}
        found += [(str(inner), str(PurePosixPath(path) / name)) for name, inner in (types or {}).items()]
    return found


def _download(request: _Request, patterns: Sequence[str]) -> Path:
    from huggingface_hub import snapshot_download  # 0.3 s; only where the network may be used

    try:
        folder = snapshot_download(
            request.repo_id,
            revision=request.revision,
            token=request.where.token,
            cache_dir=request.cache_dir,
            force_download=request.where.force_download,
            allow_patterns=request.patterns(patterns),
            ignore_patterns=request.patterns(_IGNORED) if "*" not in patterns else None,
            tqdm_class=progress.of_downloads(),
        )
    except (OSError, ValueError, RuntimeError) as error:  # the hub's HTTP, cache and validation errors, and hf_xet's
        raise _download_error(request, error) from error
    return Path(folder)


def _download_error(request: _Request, error: Exception) -> LoadError:
    from huggingface_hub import errors

    what, do = "The model can't be downloaded.", "check the network, or set HF_HUB_OFFLINE=1 to use the cache alone"
    if isinstance(error, errors.GatedRepoError):
        what, do = "The repo is gated.", "ask for access on its page, then log in or pass token="
    elif isinstance(error, errors.RepositoryNotFoundError):
        what = "The hub has no such repo, or it is private."
        do = "check the spelling (owner/name); for a private repo log in or pass token="
    elif isinstance(error, errors.RevisionNotFoundError):
        what, do = "The repo has no such revision.", "name a branch, tag or commit that it has"
    elif refusal(error, request.cache_dir) is not None:
        what = f"The model can't be written to {request.cache_dir}."
        do = "free some space there, or make it writable, or point HF_HOME or cache_dir= to another disk"
    return LoadError(
        f"{what} {' '.join(str(error).split())}",
        got=f"{request.repo_id} at revision {request.revision}; no folder of that name either",
        allowed="a folder, or the id of a repo on the hub that you may read",
        do=do,
    )
