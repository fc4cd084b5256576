"""A graph that is tried out: written beside the weights that it names, and opened on the host."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import onnx

from QEfficient.backends import registry
from QEfficient.backends.base import Session
from QEfficient.records import MODEL, GraphFacts, Manifest, Program, Shape, Target, TensorSpec

LONGEST = 1 << 20  # tokens; a graph that is tried out has no buckets


@contextmanager
def opened(
    proto: onnx.ModelProto, path: Path, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]
) -> Iterator[Session]:
    """Writes a graph to ``path`` and opens it. It has all of ``outputs``, and no others."""
    wanted = {spec.name for spec in outputs}
    for place, value in reversed([*enumerate(proto.graph.output)]):
        if value.name not in wanted:
            del proto.graph.output[place]
    onnx.save_model(proto, path)
    graph = GraphFacts((Shape(LONGEST),), tuple(inputs), tuple(outputs), path.name)
    manifest = Manifest(Target("onnxruntime"), {MODEL: graph})
    with registry.get("onnxruntime").open(Program(path.parent, manifest)) as session:
        yield session
