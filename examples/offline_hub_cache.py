"""Lays a model out as the HuggingFace hub's own cache, so that its id resolves without a network; runs scripts so."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path


def seed(model_folder: Path, repo_id: str, cache_dir: Path, *, link: bool = False) -> Path:
    """Puts a model into a hub cache: blobs by content, one snapshot of links to them, and the ref ``main``.

    Args:
        model_folder: A folder in HuggingFace layout (``config.json``, weights, tokenizer).
        repo_id: The id under which it will be found, ``"owner/name"``.
        cache_dir: The cache, as ``HF_HUB_CACHE`` names it. Made when missing.
        link: The blobs are links to the model's files, which must stay; else copies.

    Returns:
        The snapshot's folder.
    """
    repo = cache_dir / f"models--{repo_id.replace('/', '--')}"
    blobs = repo / "blobs"
    blobs.mkdir(parents=True, exist_ok=True)
    digests = {}
    for file in sorted(path for path in model_folder.rglob("*") if path.is_file()):
        with file.open("rb") as stream:
            digests[file.relative_to(model_folder)] = hashlib.file_digest(stream, "sha256").hexdigest()
    # A stand-in for git's commit, which the folder doesn't know: equal content gives an equal name of 40 hex digits.
    commit = hashlib.sha1(repr(sorted(digests.items())).encode()).hexdigest()
    snapshot = repo / "snapshots" / commit
    for relative, digest in digests.items():
        link = snapshot / relative
        link.parent.mkdir(parents=True, exist_ok=True)
        if not (blobs / digest).exists():
            (os.symlink if link else shutil.copyfile)((model_folder / relative).absolute(), blobs / digest)
        if not link.is_symlink():
            link.symlink_to(os.path.relpath(blobs / digest, link.parent))
    ref = repo / "refs" / "main"
    ref.parent.mkdir(exist_ok=True)
    ref.write_text(commit)
    return snapshot


def run_offline(script: Path, folder: Path) -> int:
    """Runs a script that finds its models in ``folder/hub`` alone, and keeps its programs in ``folder``.

    Returns:
        Its exit code.
    """
    environment = os.environ | {
        "HF_HOME": str(folder),
        "HF_HUB_CACHE": str(folder / "hub"),
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "QEFF_HOME": str(folder / "programs"),
    }
    return subprocess.run([sys.executable, str(script)], env=environment, check=False).returncode
