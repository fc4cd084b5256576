"""A trained model as an ordinary repo: of HuggingFace, or of sentence-transformers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from QEfficient.errors import UsageError
from QEfficient.source.checkpoint import TRAINING_FILE
from QEfficient.source.loading import quiet
from QEfficient.train.record import Trained


def save_model(trained: Trained, folder: str | Path) -> Path:
    """Writes the model where ``from_pretrained`` of any of these libraries reads it.

    An embedding model becomes a repo of sentence-transformers, with its pooling, prompts and limit; a reranker one of a
    ``CrossEncoder``; any other one of HuggingFace, with its tokenizer. Beside it stands, as JSON, what it was trained
    from, on what, how, and what it scored.

    Args:
        trained: The model.
        folder: The folder to write; a model there is replaced.

    Returns:
        The folder.

    Raises:
        UsageError: A file stands at its path.
    """
    path = Path(folder).expanduser().absolute()
    if path.exists() and not path.is_dir():
        raise UsageError(
            "A file stands where the model is to be saved.", got=str(path), allowed="a folder", do="choose another path"
        )
    path.mkdir(parents=True, exist_ok=True)
    module: Any = trained.module
    with quiet():
        if trained.wrapper is not None:
            trained.wrapper.save_pretrained(str(path), create_model_card=False)
        else:
            module.save_pretrained(path)
            trained.tokenizer.save_pretrained(path)
    (path / TRAINING_FILE).write_text(json.dumps(trained.facts(), indent=1), encoding="utf-8")
    return path
