import onnx_ir as ir

from QEfficient.onnx_transforms import weights
from QEfficient.onnx_transforms.clean_metadata import CleanMetadata
from tests.passes.graphs import model

TRACE = 'File "/build/folder/model.py", line 10, in forward'


def noted() -> ir.Model:
    """A graph with a note in every place that can hold one."""
    graph = model(
        """
        <ir_version: 10, opset_import: ["": 18, "local": 1]>
        g (float[2] x) => (float[2] y) <float[2] w = {1, 2}>
        { c = Constant <value = float {1}> ()  a = Add (x, w)  b = Mul (a, c)  y = local.f (b) }
        <domain: "local", opset_import: ["": 18]>
        f (x) => (y) { y = Relu (x) }
        """
    )
    places = [graph, graph.graph, *graph.graph.inputs, *graph.graph.initializers.values(), *graph.functions.values()]
    for node in weights.nodes(graph):
        places += [node, *node.outputs]
        node.metadata_props[weights.NAME_SCOPES] = "['', 'encoder', 'add']"
    for place in places:
        place.doc_string = TRACE
        place.metadata_props["pkg.torch.onnx.stack_trace"] = TRACE
    graph.graph.initializers["w"].const_value = tensor()
    next(iter(graph.graph)).attributes["value"] = ir.AttrTensor("value", tensor())
    return ir.from_proto(ir.to_proto(graph))


def tensor() -> ir.TensorProtocol:
    proto = ir.to_proto(ir.tensor([1.0, 2.0], name="w"))
    proto.doc_string = TRACE
    proto.metadata_props.add(key="origin", value=TRACE)
    return ir.from_proto(proto)


def test_only_the_module_paths_are_left() -> None:
    graph = noted()
    assert ir.to_proto(graph).SerializeToString().count(TRACE.encode()) > 20
    assert CleanMetadata()(graph).modified
    data = ir.to_proto(graph).SerializeToString()
    assert b"/build" not in data and b"stack_trace" not in data
    assert data.count(b"['', 'encoder', 'add']") == 5
    assert [node.op_type for node in weights.nodes(graph)] == ["Constant", "Add", "Mul", "f", "Relu"]


def test_a_clean_graph_is_not_modified() -> None:
    graph = noted()
    CleanMetadata()(graph)
    assert not CleanMetadata()(graph).modified
