"""Faults that a graph's fp32 result does not show, and fp16 does: each changes numbers inside, by exact powers of two.

They work on any BERT-like graph of ours whose nodes carry module paths; the real MiniLM is what the tests use.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import torch
from torch import nn

from QEfficient.onnx_transforms import apply, describe, weights
from QEfficient.onnx_transforms.remove_dead_code import RemoveDeadCode
from QEfficient.records import OnnxModel

Change = Callable[[ir.Graph], None]


def plant(model: OnnxModel, folder: Path, *changes: Change) -> OnnxModel:
    """The graph with these changes, written to ``folder``."""
    return apply(model, folder, passes=[*(lambda change=change: _Pass(change) for change in changes), RemoveDeadCode])


class _Pass(ir.passes.InPlacePass):
    def __init__(self, change: Change) -> None:
        self.change = change

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        self.change(model.graph)
        return ir.passes.PassResult(model, modified=True)


_LAYER = """
    q0_{i} = MatMul (h{i}, wq)  q_{i} = Add (q0_{i}, b)
    k0_{i} = MatMul (h{i}, wk)  k_{i} = Add (k0_{i}, b)
    v0_{i} = MatMul (h{i}, wv)  v_{i} = Add (v0_{i}, b)
    t_{i} = Transpose <perm = [0, 2, 1]> (k_{i})
    s_{i} = MatMul (q_{i}, t_{i})  p_{i} = Softmax (s_{i})  m_{i} = MatMul (p_{i}, v_{i})
    o0_{i} = MatMul (m_{i}, wo)  o_{i} = Add (o0_{i}, b)
    r_{i} = Add (o_{i}, h{i})  n_{i} = LayerNormalization <epsilon = 1e-12> (r_{i}, g, b)
    u0_{i} = MatMul (n_{i}, wu)  u_{i} = Add (u0_{i}, bu)  a_{i} = Tanh (u_{i})
    d0_{i} = MatMul (a_{i}, wd)  d_{i} = Add (d0_{i}, b)
    e_{i} = Add (d_{i}, n_{i})  h{j} = LayerNormalization <epsilon = 1e-12> (e_{i}, g, b)
"""
_MODULES = {  # first letters of a value's name → its module in a BERT's layer
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "tspm": "attention.self",
    "o": "attention.output.dense",
    "r": "attention.output",
    "n": "attention.output.LayerNorm",
    "u": "intermediate.dense",
    "a": "intermediate",
    "d": "output.dense",
    "e": "output",
    "h": "output.LayerNorm",
}


def deep(folder: Path, *, layers: int, dim: int = 16) -> OnnxModel:
    """A BERT of many small layers with random weights, written without torch: ``x`` ``[batch_size, seq_len, dim]`` →
    ``output`` of the same shape. Every layer reads the same weights, until a fault gives it its own."""
    body = "".join(_LAYER.format(i=i, j=i + 1) for i in range(layers))
    shape = f"float[batch_size, seq_len, {dim}]"
    proto = onnx.parser.parse_model(
        f'<ir_version: 10, opset_import: ["": 18]> deep ({shape} h0) => ({shape} h{layers}) {{ {body} }}'
    )
    random = np.random.default_rng(0)
    shapes = {f"w{part}": (dim, dim) for part in "qkvo"} | {"wu": (dim, 2 * dim), "wd": (2 * dim, dim)}
    held = {name: random.standard_normal(size) / 4 for name, size in shapes.items()}
    held |= {"g": np.ones(dim), "b": random.standard_normal(dim) / 10, "bu": random.standard_normal(2 * dim) / 10}
    for name, array in held.items():
        proto.graph.initializer.append(onnx.numpy_helper.from_array(array.astype(np.float32), name))
    for node in proto.graph.node:
        name = node.output[0]
        number = int(name[1:]) - 1 if name[0] == "h" else int(name.split("_")[1])
        module = next(path for letters, path in _MODULES.items() if name[0] in letters)
        scopes = ["", f"layer.{number}", f"layer.{number}.{module}", name]
        node.metadata_props.add(key=weights.NAME_SCOPES, value=str(scopes))
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save_model(onnx.shape_inference.infer_shapes(proto), folder / "deep.onnx")
    return describe(folder / "deep.onnx")


# ------------------------------------------------------------------------------- rescales of the torch model


def rescale_value(model: nn.Module, layer: int, k: int) -> None:
    """A BERT's value projection by 2^k, its output projection by 2^-k."""
    attention = model.encoder.layer[layer].attention
    _scale(attention.self.value, 2.0**k, bias=2.0**k)
    _scale(attention.output.dense, 2.0**-k)


def rescale_query(model: nn.Module, layer: int, k: int) -> None:
    """Query by 2^k, key by 2^-k."""
    attention = model.encoder.layer[layer].attention.self
    _scale(attention.query, 2.0**k, bias=2.0**k)
    _scale(attention.key, 2.0**-k, bias=2.0**-k)


def rescale_norm(model: nn.Module, layer: int, k: int) -> None:
    """The block's first LayerNorm by 2^k, up-projection by 2^-k, down-projection by 2^k; the next norm absorbs it."""
    block = model.encoder.layer[layer]
    _scale(block.attention.output.LayerNorm, 2.0**k, bias=2.0**k)
    _scale(block.intermediate.dense, 2.0**-k)
    _scale(block.output.dense, 2.0**k, bias=2.0**k)


def _scale(module: nn.Module, weight: float, *, bias: float = 1.0) -> None:
    with torch.no_grad():
        module.weight.mul_(weight)
        module.bias.mul_(bias)


# ------------------------------------------------------------------------------- the same on the graph


def value(layer: int, k: int) -> Change:
    """As :func:`rescale_value`."""
    return _linear((f"layer.{layer}.attention.self.value", k, k), (f"layer.{layer}.attention.output.dense", -k, 0))


def query(layer: int, k: int) -> Change:
    """As :func:`rescale_query`."""
    return _linear((f"layer.{layer}.attention.self.query", k, k), (f"layer.{layer}.attention.self.key", -k, -k))


def norm(layer: int, k: int) -> Change:
    """As :func:`rescale_norm`."""
    return _linear(
        (f"layer.{layer}.attention.output.LayerNorm", k, k),
        (f"layer.{layer}.intermediate.dense", -k, 0),
        (f"layer.{layer}.output.dense", k, k),
    )


def hot_channel(layer: int, channel: int, k: int) -> Change:
    """One channel of the values by 2^k, its row of the output projection by 2^-k."""

    def change(graph: ir.Graph) -> None:
        [product, bias] = _of(graph, f"layer.{layer}.attention.self.value")
        for node in (product, bias):
            width = node.inputs[1].shape[-1]
            _multiply(node, 1, np.where(np.arange(width) == channel, 2.0**k, 1.0))
        product = _of(graph, f"layer.{layer}.attention.output.dense")[0]
        rows = product.inputs[1].shape[0]
        _multiply(product, 1, np.where(np.arange(rows) == channel, 2.0**-k, 1.0)[:, None])

    return change


def logits(layer: int, k: int) -> Change:
    """Query and key by 2^k each; the scores are divided afterwards, as attention is often written."""

    def change(graph: ir.Graph) -> None:
        _linear((f"layer.{layer}.attention.self.query", k, k), (f"layer.{layer}.attention.self.key", k, k))(graph)
        scores = next(node for node in _of(graph, f"layer.{layer}.attention.self") if _varying(node))
        _append(scores, "Mul", _constant(graph, np.float32(2.0 ** (-2 * k)), "unscale"))

    return change


def mask_constant(graph: ir.Graph) -> None:
    """The mask's fill becomes a product of numbers that each fit: folding and clamping can't see -3.6e9."""
    node = next(n for n in graph if n.op_type == "Mul" and _fill(n) is not None)
    index = _fill(node)
    mask = next(value for value in graph.inputs if value.name == "attention_mask")
    anywhere = _add(graph, node, "ReduceMax", [mask], "mask_max", keepdims=0, dtype=ir.DataType.INT64)
    one = _add(graph, node, "Cast", [anywhere], "mask_one", to=ir.DataType.FLOAT)
    low = _add(graph, node, "Mul", [one, _constant(graph, np.float32(-60000), "low")], "mask_low")
    node.replace_input_with(index, _add(graph, node, "Mul", [low, _constant(graph, np.float32(60000), "high")], "fill"))


def pooling_sum(k: int) -> Change:
    """Sums all tokens before it divides; the last LayerNorm by 2^k, the mean by 2^-k."""

    def change(graph: ir.Graph) -> None:
        last = [node for node in graph if node.op_type == "LayerNormalization"][-1]
        _multiply(last, 1, np.float64(2.0**k))
        _multiply(last, 2, np.float64(2.0**k))
        weigh = next(node for node in graph if node.op_type == "MatMul" and last.outputs[0] in node.inputs)
        mask = next(value for value in graph.inputs if value.name == "attention_mask")
        real = _add(graph, weigh, "Cast", [mask], "mask_real", like=weigh, to=ir.DataType.FLOAT)
        last_axis = _constant(graph, np.array([-1]), "last_axis")
        column = _add(graph, weigh, "Unsqueeze", [real, last_axis], "mask_column", like=weigh)
        kept = _add(graph, weigh, "Mul", [last.outputs[0], column], "kept", like=weigh)
        axis = _constant(graph, np.array([1]), "token_axis")
        total = _add(graph, weigh, "ReduceSum", [kept, axis], "total", like=weigh, keepdims=1)
        count = _add(graph, weigh, "ReduceSum", [column, axis], "count", like=weigh, keepdims=1)
        large = _add(graph, weigh, "Div", [total, count], "large_mean", like=weigh)
        factor = _constant(graph, np.float32(2.0**-k), "mean_factor")
        mean = _add(graph, weigh, "Mul", [large, factor], "mean", like=weigh)
        weigh.outputs[0].replace_all_uses_with(mean)
        graph.remove(weigh, safe=True)

    return change


def norm_square(layer: int, k: int) -> Change:
    """A LayerNorm written out, which squares before it divides, behind states that are 2^k times larger."""

    def change(graph: ir.Graph) -> None:
        norm(layer, k)(graph)
        [old] = _of(graph, f"layer.{layer}.output.LayerNorm")
        states, scale, shift = old.inputs
        axis = _constant(graph, np.array([-1]), "width_axis")

        def add(kind: str, *inputs: ir.Value, **attributes: int) -> ir.Value:
            return _add(graph, old, kind, list(inputs), f"norm_{kind}_{len(graph)}", like=old, **attributes)

        centred = add("Sub", states, add("ReduceMean", states, axis, keepdims=1))
        square = add("Pow", centred, _constant(graph, np.float32(2.0), "two"))
        variance = add("ReduceMean", square, axis, keepdims=1)
        epsilon = _constant(graph, np.float32(old.attributes["epsilon"].as_float()), "epsilon")
        unit = add("Div", centred, add("Sqrt", add("Add", variance, epsilon)))
        old.outputs[0].replace_all_uses_with(add("Add", add("Mul", unit, scale), shift))
        graph.remove(old, safe=True)

    return change


def rename(graph: ir.Graph) -> None:
    """Every node and value gets a name of another form; inputs and outputs keep theirs."""
    for number, node in enumerate(list(graph)):
        node.name = f"op/{number * 7 + 3}"
        for place, made in enumerate(node.outputs):
            if not made.is_graph_output():
                made.name = f"%{number * 13 + 5}.{place}"
    for number, held in enumerate(list(graph.initializers.values())):
        held.name = f"blob:{number}"


def forget_modules(graph: ir.Graph) -> None:
    """Drops the module paths."""
    for node in graph:
        node.metadata_props.clear()


def _linear(*scaled: tuple[str, int, int]) -> Change:
    """Module's end → exponents of its weight and of its bias."""

    def change(graph: ir.Graph) -> None:
        for module, weight, bias in scaled:
            nodes = _of(graph, module)
            if len(nodes) == 1:  # a norm holds both
                _multiply(nodes[0], 1, np.float64(2.0**weight))
                _multiply(nodes[0], 2, np.float64(2.0**bias))
            else:
                _multiply(nodes[0], 1, np.float64(2.0**weight))
                _multiply(nodes[1], 1, np.float64(2.0**bias))

    return change


def _of(graph: ir.Graph, module: str) -> list[ir.Node]:
    """The nodes of the one module whose path ends so, in graph order."""
    return [node for node in graph if weights.node_module(node).endswith(module)]


def _varying(node: ir.Node) -> bool:
    return node.op_type == "MatMul" and all(weights.constant(value) is None for value in node.inputs)


def _fill(node: ir.Node) -> int | None:
    for index, read in enumerate(node.inputs):
        found = weights.constant(read)
        if found is not None and found.size == 1 and found.numpy().item() < -10000:
            return index
    return None


def _multiply(node: ir.Node, index: int, factor: np.ndarray | np.float64) -> None:
    """Gives ``node`` a weight of its own, multiplied."""
    graph, old = node.graph, node.inputs[index]
    tensor = weights.constant(old)
    assert graph is not None and tensor is not None
    array = (tensor.numpy() * factor).astype(np.float32)
    node.replace_input_with(index, _constant(graph, array, f"{old.name}_scaled_{len(graph.initializers)}"))


def _constant(graph: ir.Graph, array: np.ndarray, name: str) -> ir.Value:
    tensor = ir.tensor(np.asarray(array), name=f"{name}_{len(graph.initializers)}")
    held = ir.Value(name=tensor.name, type=ir.TensorType(tensor.dtype), shape=tensor.shape, const_value=tensor)
    graph.register_initializer(held)
    return held


def _add(
    graph: ir.Graph,
    before: ir.Node,
    kind: str,
    inputs: list[ir.Value],
    name: str,
    like: ir.Node | None = None,
    dtype: ir.DataType = ir.DataType.FLOAT,
    **attributes: int,
) -> ir.Value:
    made = ir.Value(name=name, type=ir.TensorType(dtype))
    node = ir.node(kind, inputs, attributes, outputs=[made], name=f"node_{name}")
    node.metadata_props.update((like or before).metadata_props)
    graph.insert_before(before, node)
    return made


def _append(node: ir.Node, kind: str, factor: ir.Value) -> None:
    old = node.outputs[0]
    made = ir.Value(name=f"{old.name}_after", type=old.type, shape=old.shape)
    after = ir.node(kind, [old, factor], outputs=[made], name=f"node_{made.name}")
    after.metadata_props.update(node.metadata_props)
    old.replace_all_uses_with(made)
    after.replace_input_with(0, old)
    assert node.graph is not None
    node.graph.insert_after(node, after)
