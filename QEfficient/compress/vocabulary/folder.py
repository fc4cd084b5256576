"""The pruned model as an ordinary repo: of HuggingFace, or of sentence-transformers where it was one."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from QEfficient.sentence_repo import SentenceRepo
from QEfficient.source.loading import quiet

if TYPE_CHECKING:
    from torch import nn

TOKENIZER_BEFORE = "tokenizer_before_pruning.json"
"""The tokenizer with all its tokens, beside the pruned one: what new texts lose is told by it."""

_OF_SENTENCES = ("modules.json", "config_sentence_transformers.json")


def write_folder(
    folder: Path, module: nn.Module, tokenizer: Any, content: str, before: str, repo: SentenceRepo | None
) -> Path:
    """Writes the model, its tokenizer, and of a repo of sentence-transformers what stands behind them.

    Args:
        folder: An empty folder.
        module: The pruned model.
        tokenizer: HuggingFace's, with all its tokens; its settings are written.
        content: The JSON of the pruned one.
        before: The JSON of the tokenizer before anything was lost.
        repo: What the model came from, where that was a repo of sentence-transformers.

    Returns:
        The folder with the model and its tokenizer, which of such a repo may be one within it.
    """
    place = folder if repo is None else folder / repo.transformer.relative_to(repo.folder)
    if repo is not None:
        _copy_modules(repo, folder, place)
    written: Any = module
    with quiet():
        written.save_pretrained(place)
        tokenizer.save_pretrained(place)
    (place / "tokenizer.json").write_text(content, encoding="utf-8")
    (place / TOKENIZER_BEFORE).write_text(before, encoding="utf-8")
    return place


def _copy_modules(repo: SentenceRepo, folder: Path, place: Path) -> None:
    """What sentence-transformers reads beside the model: the list of modules, all others of these, the options."""
    for name in _OF_SENTENCES:
        if (repo.folder / name).is_file():
            shutil.copyfile(repo.folder / name, folder / name)
    for module in repo.modules[1:]:
        if module.folder != repo.folder and module.folder.is_dir():  # a module without files has no folder of its own
            shutil.copytree(module.folder, folder / module.folder.relative_to(repo.folder), dirs_exist_ok=True)
    place.mkdir(parents=True, exist_ok=True)
    for file in repo.transformer.glob("sentence_*_config.json"):
        shutil.copyfile(file, place / file.name)
