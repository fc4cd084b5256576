"""Rewrites a graph so that onnxruntime computes it as the card does in fp16: every weight and activation rounded.

MXFP6 weights follow the Open Compute Project's Microscaling formats 1.0: blocks of 32 along the reduced dim share a
power of two, each element is E2M3 (the vendor does not say which of the two six-bit elements it is; one client does).
Types at the interface stay as they are. Bit equality with hardware is not claimed.
"""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, inliner, numpy_helper, shape_inference

try:
    from bounds import drop_and_poison
except ImportError:  # where the tests read this file, and not the fake SDK
    from tests.sdk.parts.bounds import drop_and_poison


def emulate(
    source: Path,
    target: Path,
    *,
    fp16: bool,
    mxfp6: bool = False,
    fp32_outputs: frozenset = frozenset(),
    tolerant: bool = False,
) -> None:
    """Write the graph at ``source`` to ``target``, its weights beside it in ``<target>.data``.

    Args:
        source: The ONNX file; functions in it are inlined.
        target: The file to write.
        fp16: Whether to round; else only copies.
        mxfp6: Whether the weights of matrix products are stored as MXFP6.
        fp32_outputs: First output names of the nodes that stay in fp32.
        tolerant: Whether indices out of range do as on the card, see ``bounds.py``; onnxruntime fails on them.
    """
    model = onnx.load_model(source, load_external_data=False)
    if model.functions:
        model = inliner.inline_local_functions(model)
    _read_weights(model.graph, source.parent)
    if tolerant:
        drop_and_poison(model)
    if mxfp6:
        _store_weights_as_mxfp6(model.graph)
    if fp16:
        _round(model, fp32_outputs)
    onnx.save_model(model, target, save_as_external_data=True, location=f"{target.name}.data", size_threshold=1024)


def _read_weights(graph, folder: Path) -> None:
    """Read external data by hand: onnx refuses files with several hard links, the real compiler does not."""
    for tensor in graph.initializer:
        if tensor.data_location == TensorProto.EXTERNAL:
            info = {entry.key: entry.value for entry in tensor.external_data}
            with open(folder / info["location"], "rb") as file:
                file.seek(int(info.get("offset", 0)))
                tensor.raw_data = file.read(int(info["length"]))
            tensor.ClearField("external_data")
            tensor.data_location = TensorProto.DEFAULT


def round_to_mxfp6(weights: np.ndarray) -> np.ndarray:
    """The numbers that are left of a ``(…, K, N)`` weight; a block is 32 numbers along K."""
    k, n = weights.shape[-2:]
    padded = np.pad(weights.astype(np.float64), [(0, 0)] * (weights.ndim - 2) + [(0, -k % 32), (0, 0)])
    blocks = padded.reshape(*weights.shape[:-2], -1, 32, n)
    scale = np.exp2(_exponent(np.abs(blocks).max(axis=-2, keepdims=True)) - 2)  # the largest element is below 2 ** 3
    scaled = blocks / scale
    step = np.exp2(np.maximum(_exponent(scaled), 0) - 3)  # three bits of mantissa; below 1 the numbers are subnormal
    elements = np.clip(np.round(scaled / step) * step, -7.5, 7.5)
    return (elements * scale).reshape(padded.shape)[..., :k, :].astype(weights.dtype)


def _exponent(numbers: np.ndarray) -> np.ndarray:
    return np.frexp(numbers)[1] - 1.0


def _store_weights_as_mxfp6(graph) -> None:
    """A weight that another node reads as well, such as an embedding's table, keeps its own full numbers there."""
    weights = {t.name: t for t in graph.initializer if t.data_type == TensorProto.FLOAT and len(t.dims) > 1}
    for node in graph.node:
        if node.op_type in ("MatMul", "Gemm") and node.input[1] in weights:
            array = numpy_helper.to_array(weights[node.input[1]])
            turned = any(attribute.name == "transB" and attribute.i for attribute in node.attribute)
            rounded = round_to_mxfp6(array.T).T if turned else round_to_mxfp6(array)
            name = f"{node.output[0]}/mxfp6"
            graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(rounded), name))
            node.input[1] = name


def _float_names(model) -> set:
    inferred = shape_inference.infer_shapes(model).graph
    values = [*inferred.input, *inferred.output, *inferred.value_info]
    return {v.name for v in values if v.type.tensor_type.elem_type == TensorProto.FLOAT}


def _round(model, fp32_outputs: frozenset) -> None:
    graph, floats, nodes = model.graph, _float_names(model), []
    for tensor in list(graph.initializer):
        if tensor.data_type == TensorProto.FLOAT:
            with np.errstate(over="ignore"):  # a constant outside of fp16 becomes infinite, as on the card
                half = numpy_helper.to_array(tensor).astype(np.float16)
            nodes.append(helper.make_node("Cast", [f"{tensor.name}/half"], [tensor.name], to=TensorProto.FLOAT))
            graph.initializer.remove(tensor)
            graph.initializer.append(numpy_helper.from_array(half, f"{tensor.name}/half"))
    for node in graph.node:
        nodes.append(node)
        if node.output[0] in fp32_outputs:
            continue
        for index, name in enumerate(node.output):
            if name in floats:
                node.output[index] = f"{name}/full"
                nodes.append(helper.make_node("Cast", [f"{name}/full"], [f"{name}/half"], to=TensorProto.FLOAT16))
                nodes.append(helper.make_node("Cast", [f"{name}/half"], [name], to=TensorProto.FLOAT))
    del graph.node[:]
    graph.node.extend(nodes)
