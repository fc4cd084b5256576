"""How large a model is: on disk, and the weights that it holds while it runs."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from QEfficient import hub
from QEfficient.build.subject import ModelSubject, Subject
from QEfficient.errors import LoadError
from QEfficient.records import Manifest

_PART = re.compile(r"\d+_\w+")  # as sentence-transformers names the folders of what stands behind the encoder
_ALIKE = 0.02  # of the files: their headers, and buffers that are not saved


def disk_bytes(subject: Subject) -> int | None:
    """Bytes of a program's files; before there is a program, of the files that hold the model's weights.

    Returns:
        ``None`` for a model that is in memory only, or may have been changed there.
    """
    if subject.loaded is not None:
        return sum(file.size for file in subject.loaded.program.manifest.files.values())
    files = subject.recipe.origin.weight_files() if isinstance(subject, ModelSubject) else ()
    return sum(file.stat().st_size for file in files) or None


def disk_bytes_beside(model: Any) -> int | None:
    """Bytes of the files that a model of sentence-transformers was read from.

    Args:
        model: A ``SentenceTransformer`` or a ``CrossEncoder``.

    Returns:
        ``None`` where it came from no folder that is still there, and where its files are not as large as its weights
        are in memory: what runs has been changed since, or was read in another precision.
    """
    inner = getattr(model[0], "model", None)
    name = str(getattr(inner, "name_or_path", ""))
    folder = Path(name)
    if not name or not (folder / "config.json").is_file():
        return None
    parts = [folder, *(one for one in sorted(folder.iterdir()) if _PART.fullmatch(one.name) and one.is_dir())]
    total = sum(file.stat().st_size for part in parts for file in _weight_files(part))
    return total if abs(total - module_bytes(model)) <= _ALIKE * total else None


def _weight_files(folder: Path) -> tuple[Path, ...]:
    try:
        return hub.weight_files(folder)
    except LoadError:  # a pooling has none
        return ()


def weight_bytes(subject: Subject) -> int | None:
    """Bytes of the weights that run: of a program its graphs, which a card has on the device and the host in memory.

    Before there is a program, those of HuggingFace's model. Activations and the runtime itself come on top: in a
    process that holds several models nobody can tell whose they are.
    """
    if isinstance(subject, ModelSubject) and subject.loaded is None:
        return module_bytes(subject.recipe.origin.module())
    return None if subject.loaded is None else _graph_bytes(subject.loaded.program.manifest)


def module_bytes(module: Any) -> int:
    """Bytes of a torch module's parameters and buffers, each counted once however often it is used."""
    tensors: Iterable[Any] = (*module.parameters(), *module.buffers())
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _graph_bytes(manifest: Manifest) -> int:
    """Of each graph its file and the data beside it; of a card's, its binary.

    onnxruntime turns the matrices of products back into fp32 when it loads weights of few bits.
    """
    if manifest.weights and manifest.target.backend == "onnxruntime":
        return int(manifest.weights["bytes_turned_back"])
    total = 0
    for graph in manifest.graphs.values():
        for name, file in manifest.files.items():
            if graph.binary:
                total += file.size if name.startswith(f"{graph.binary}/") else 0
            elif name == graph.onnx or name.startswith(f"{graph.onnx}."):
                total += file.size
    return total
