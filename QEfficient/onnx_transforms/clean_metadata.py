"""Drops what the exporter noted for its own developers."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from QEfficient.onnx_transforms import weights

KEPT = frozenset({weights.NAME_SCOPES})


class CleanMetadata(ir.passes.InPlacePass):
    """Drops docstrings and every metadata entry but ``pkg.torch.onnx.name_scopes``.

    That one is the torch module path of a node, which reports and error messages use. Stack traces, class hierarchies
    and the text of fx nodes go: they hold paths of the machine that built the file, and make it eight times larger.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Changes ``model`` in place."""
        cleaned = [_clean(noted) for noted in (*_everything(model), *_tensors(model))]
        return ir.passes.PassResult(model, modified=any(cleaned))


def _everything(model: ir.Model) -> Iterator[ir.Model | ir.Graph | ir.Function | ir.Node | ir.Value]:
    yield model
    yield from model.functions.values()
    for function in model.functions.values():
        yield from function.inputs
    for graph in weights.graphs(model):
        yield graph
        yield from (*graph.inputs, *graph.initializers.values())
    for node in weights.nodes(model):
        yield node
        yield from node.outputs


def _tensors(model: ir.Model) -> Iterator[ir.TensorProtocol]:
    yield from weights.initializers(model)
    for node in weights.nodes(model):
        for attribute in node.attributes.values():
            if attribute.type == ir.AttributeType.TENSOR and not attribute.is_ref():
                yield attribute.as_tensor()


def _clean(noted: ir.Model | ir.Graph | ir.Function | ir.Node | ir.Value | ir.TensorProtocol) -> bool:
    unwanted = [key for key in noted.metadata_props if key not in KEPT]
    modified = bool(unwanted) or bool(noted.doc_string)
    for key in unwanted:
        del noted.metadata_props[key]
    if isinstance(noted, ir.serde.TensorProtoTensor):  # written as it was read, notes and all
        noted.raw.ClearField("doc_string")
        noted.raw.ClearField("metadata_props")
    else:
        noted.doc_string = None
    return modified
