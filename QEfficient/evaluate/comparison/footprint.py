"""How large a model is: on disk, and the weights that it holds while it runs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from QEfficient.build.subject import ModelSubject, Subject
from QEfficient.records import Manifest


def disk_bytes(subject: Subject) -> int | None:
    """Bytes of a program's files; before there is a program, of the files that hold the model's weights.

    Returns:
        ``None`` for a model that is in memory only, or may have been changed there.
    """
    if subject.loaded is not None:
        return sum(file.size for file in subject.loaded.program.manifest.files.values())
    files = subject.recipe.origin.weight_files() if isinstance(subject, ModelSubject) else ()
    return sum(file.stat().st_size for file in files) or None


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
    """Of each graph its file and the data beside it; of a card's, its binary."""
    total = 0
    for graph in manifest.graphs.values():
        for name, file in manifest.files.items():
            if graph.binary:
                total += file.size if name.startswith(f"{graph.binary}/") else 0
            elif name == graph.onnx or name.startswith(f"{graph.onnx}."):
                total += file.size
    return total
