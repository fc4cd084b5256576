"""Moves weights out of the graph file."""

from __future__ import annotations

from pathlib import Path

import onnx_ir as ir
from onnx_ir.passes import common

from QEfficient.onnx_transforms import weights

THRESHOLD = 1024  # bytes; smaller constants stay in the graph, where shape inference of every runtime sees them
FILE_LIMIT = 8 * 2**30  # bytes
NAME = "model.onnx.data"


class StoreWeights(ir.passes.InPlacePass):
    """Writes the weights into ``folder`` and leaves only their place in the graph.

    Those with more than :data:`THRESHOLD` bytes go out. Past :data:`FILE_LIMIT` bytes there are several data files,
    ``model-00001-of-0000N.onnx.data``, and a weight that is larger has a file of its own.

    A graph file can't pass 2 GB, which is protobuf's limit; data files can. Large ``Constant`` nodes become
    initializers first. Weights follow each other in graph order, so equal graphs give equal bytes. Each weight is
    copied on its own, from file to file where it is in a file already, so memory stays small.

    Args:
        folder: Where to write. The data files of the graph that was read must stand elsewhere.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Changes ``model`` in place."""
        # onnx_ir counts elements; an element has at most 8 bytes, so none is left behind that should go out.
        modified = common.LiftConstantsToInitializersPass(size_limit=THRESHOLD // 8 + 1)(model).modified
        modified |= _load_attributes(model)
        if all(self._is_in_place(tensor) for tensor in weights.initializers(model)):
            return ir.passes.PassResult(model, modified=modified)
        ir.external_data.unload_from_model(
            model, self.folder, NAME, size_threshold_bytes=THRESHOLD, max_shard_size_bytes=FILE_LIMIT
        )
        return ir.passes.PassResult(model, modified=True)

    def _is_in_place(self, tensor: ir.TensorProtocol) -> bool:
        if isinstance(tensor, ir.ExternalTensor):
            return tensor.nbytes > THRESHOLD and Path(tensor.path).parent == self.folder
        return tensor.nbytes <= THRESHOLD


def _load_attributes(model: ir.Model) -> bool:
    """Tensors in other nodes' attributes can't go out again: they are taken into the graph."""
    modified = False
    for node in weights.nodes(model):
        for attribute in list(node.attributes.values()):
            if attribute.is_ref() or attribute.type != ir.AttributeType.TENSOR:
                continue
            tensor = attribute.as_tensor()
            if isinstance(tensor, ir.ExternalTensor):
                loaded = ir.Tensor(tensor.numpy().copy(), dtype=tensor.dtype, name=tensor.name)
                node.attributes[attribute.name] = ir.AttrTensor(attribute.name, loaded)
                modified = True
    return modified
