"""Repeated layers as one ONNX function: before and after, in ONNX text."""

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from onnx import parser

from QEfficient.errors import TransformError
from QEfficient.onnx_transforms.layer_functions import DOMAIN, LayerFunctions

BEFORE = """
<ir_version: 10, opset_import: ["": 18]>
two_layers (float[batch_size, 4] x) => (float[batch_size, 4] output)
<float[4] bias_0 = {1, 2, 3, 4}, float[4] bias_1 = {5, 6, 7, 8}, float half = {0.5}, float scale = {3}>
{
    shared = Mul (half, scale)
    added_0 = Add (x, bias_0)
    halved_0 = Mul (added_0, half)
    states_0 = Mul (halved_0, shared)
    added_1 = Add (states_0, bias_1)
    halved_1 = Mul (added_1, half)
    states_1 = Mul (halved_1, shared)
    output = Tanh (states_1)
}
"""

AFTER = """
<ir_version: 10, opset_import: ["": 18, "qefficient.layers": 1]>
two_layers (float[batch_size, 4] x) => (float[batch_size, 4] output)
<float[4] bias_0 = {1, 2, 3, 4}, float[4] bias_1 = {5, 6, 7, 8}, float half = {0.5}, float scale = {3}>
{
    shared = Mul (half, scale)
    states_0 = qefficient.layers.layer_0 (x, bias_0, shared)
    states_1 = qefficient.layers.layer_0 (states_0, bias_1, shared)
    output = Tanh (states_1)
}
<domain: "qefficient.layers", opset_import: ["": 18]>
layer_0 (input_0, input_1, input_3) => (states_0)
{
    input_2 = Constant <value: tensor = float {0.5}> ()
    added_0 = Add (input_0, input_1)
    halved_0 = Mul (added_0, input_2)
    states_0 = Mul (halved_0, input_3)
}
"""

# The torch module of each node, in order. What all layers share is made in the first, as T5 makes its positions.
PATHS = ["layer.0", *["layer.0"] * 3, *["layer.1"] * 3, "last"]


def model(text: str, paths: list[str]) -> ir.Model:
    made = ir.from_proto(parser.parse_model(text))
    for node, path in zip(made.graph, paths, strict=True):
        node.metadata_props["pkg.torch.onnx.name_scopes"] = repr(["", "encoder", f"encoder.{path}", "operation"])
    return made


def text(made: ir.Model) -> str:
    """ONNX text without names of nodes, notes and inner types."""
    proto = ir.to_proto(made)
    del proto.graph.value_info[:]
    for node in [*proto.graph.node, *(node for function in proto.functions for node in function.node)]:
        node.ClearField("metadata_props")
        node.ClearField("name")
    for function in proto.functions:
        del function.value_info[:]
    return onnx.printer.to_text(proto)


def run(proto: onnx.ModelProto) -> np.ndarray:
    session = onnxruntime.InferenceSession(proto.SerializeToString())
    return session.run(None, {"x": np.linspace(-3, 1, 12, dtype=np.float32).reshape(3, 4)})[0]


def test_two_equal_layers_become_two_calls() -> None:
    made = model(BEFORE, PATHS)
    assert LayerFunctions()(made).modified
    expected = ir.from_proto(parser.parse_model(AFTER))
    assert text(made) == text(expected)
    proto = ir.to_proto(made)
    onnx.checker.check_model(proto, full_check=True)
    np.testing.assert_array_equal(run(proto), run(parser.parse_model(BEFORE)))


def test_a_call_carries_the_path_of_its_layer() -> None:
    made = model(BEFORE, PATHS)
    LayerFunctions()(made)
    calls = [node for node in made.graph if node.domain == DOMAIN]
    assert [node.name for node in calls] == ["encoder.layer.0", "encoder.layer.1"]
    assert "encoder.layer.1" in calls[1].metadata_props["pkg.torch.onnx.name_scopes"]


@pytest.mark.parametrize(
    ("change", "to"),
    [
        ("halved_1 = Mul", "halved_1 = Div"),  # another operation
        ("Mul (added_1, half)", "Mul (half, added_1)"),  # another wiring
        ("float[4] bias_1 = {5, 6, 7, 8}", "float[1] bias_1 = {5}"),  # another shape
    ],
)
def test_layers_that_differ_are_refused(change: str, to: str) -> None:
    assert change in BEFORE
    with pytest.raises(TransformError, match="2 layers, all different"):
        LayerFunctions()(model(BEFORE.replace(change, to), PATHS))


def test_layers_whose_constants_differ_take_them_as_inputs() -> None:
    changed = BEFORE.replace("half = {0.5}", "half = {0.5}, float third = {0.25}").replace(
        "(added_1, half)", "(added_1, third)"
    )
    made = model(changed, PATHS)
    LayerFunctions()(made)
    calls = [node for node in made.graph if node.domain == DOMAIN]
    assert [[value.name for value in node.inputs] for node in calls] == [
        ["x", "bias_0", "half", "shared"],
        ["states_0", "bias_1", "third", "shared"],
    ]
    np.testing.assert_array_equal(run(ir.to_proto(made)), run(parser.parse_model(changed)))


def test_a_graph_without_layers_is_refused() -> None:
    with pytest.raises(TransformError, match="use_onnx_subfunctions"):
        LayerFunctions()(model(BEFORE, ["all"] * 8))
