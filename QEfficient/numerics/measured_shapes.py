"""Shapes that depend on data, as they are in one run on the host."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx

from QEfficient.cache import Cache
from QEfficient.errors import BackendError, UsageError
from QEfficient.numerics.host import host_session
from QEfficient.numerics.steps import Walk
from QEfficient.onnx_transforms import adopt
from QEfficient.records import OnnxModel, Shape, TensorSpec
from QEfficient.runtime.beside import stand_in


def measured_shapes(model: OnnxModel, bucket: Shape, walk: Walk) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Name of each value of the main graph that ``walk`` has no shape of → its numpy dtype's name and shape.

    Every input is filled with numbers that every model takes: full rows, valid ids. A run needs the memory of all these
    values at once.

    Args:
        model: The graph on disk; it is linked into a work folder of the cache, with further outputs.
        bucket: Sizes of the free dims.
        walk: What is known.

    Raises:
        UsageError: The graph can't be run at this bucket.
    """
    with Cache().work_folder() as folder:
        copy = adopt(model.path, folder / "graph")
        wanted = _open(copy.path, set(walk.shapeless))
        specs = tuple(TensorSpec(name, "float32", ()) for name in wanted)
        more = replace(copy, outputs=(*copy.outputs, *specs))
        try:
            with host_session(more, bucket) as session:
                arrays = session.run({spec.name: stand_in(spec, spec.at(bucket)) for spec in model.inputs})
        except BackendError as error:
            raise UsageError(
                "The graph can't be run at this bucket, and its shapes can't be told without a run.",
                got=f"{bucket.sizes}: {error.got}",
                allowed="a length and a batch that the graph takes",
                do="pass another seq_len or batch_size",
            ) from error
    found = {name: arrays[name] for name in wanted}
    return {name: (one.dtype.name, one.shape) for name, one in found.items() if isinstance(one, np.ndarray)}


def _open(path: Path, names: set[str]) -> tuple[str, ...]:
    """Makes outputs of the values that nothing is known of; only those of the main graph can be."""
    graph = onnx.load_model(path, load_external_data=False)
    there = {output.name for output in graph.graph.output}
    made = dict.fromkeys(name for node in graph.graph.node for name in node.output if name in names - there)
    graph.graph.output.extend(onnx.ValueInfoProto(name=name) for name in made)
    path.unlink()  # it may be a link to the cache's own file
    path.write_bytes(graph.SerializeToString())
    return tuple(made)
