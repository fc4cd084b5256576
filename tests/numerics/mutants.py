"""Exports that are broken on purpose: one fault each, cut into the right graph of a BERT-like or a decoder family.

Faults that nothing shows are left out:

- rotary positions that start at one: attention sees only how far apart tokens are;
- a last RMSNorm, or a mean's divisor, whose scale normalising takes out;
- biases and norms' shifts where weights are as drawn: they are 0;
- a key's bias: softmax takes out what is added to all scores of a token;
- an epsilon far below the variance that it is added to.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir.passes.common import RemoveUnusedNodesPass

from QEfficient import onnx_transforms
from QEfficient.onnx_transforms import weights
from QEfficient.records import OnnxModel

Change = Callable[[ir.Graph], None]
Weight = NDArray[np.generic]


def mutate(model: OnnxModel, folder: Path, fault: Change) -> OnnxModel:
    """The graph with the fault, in ``folder``, beside a copy of its weights."""
    graph = ir.load(model.path)
    fault(graph.graph)
    RemoveUnusedNodesPass()(graph)
    folder.mkdir(parents=True, exist_ok=True)
    for file in onnx_transforms.external_files(model.path):
        shutil.copyfile(file, folder / file.name)  # onnx_ir reads no file that has two links
    onnx.save_model(ir.to_proto(graph), folder / "model.onnx")
    return replace(model, path=folder / "model.onnx", digest="")


# ---------------------------------------------------------------------------------------------- surgery


def of(graph: ir.Graph, module: str, kind: str, place: int = 0) -> ir.Node:
    """A node of the module whose path ends so."""
    return [node for node in graph if node.op_type == kind and weights.node_module(node).endswith(module)][place]


def read(node: ir.Node, index: int) -> ir.Value:
    value = node.inputs[index]
    assert value is not None
    return value


def maker(value: ir.Value) -> ir.Node:
    node = value.producer()
    assert node is not None
    return node


def constant(graph: ir.Graph, content: Weight | np.generic | list[int] | float) -> ir.Value:
    array = np.float32(content) if isinstance(content, float) else np.asarray(content)
    tensor = ir.tensor(np.asarray(array), name=f"mutant_constant_{len(graph.initializers)}")
    held = ir.Value(name=tensor.name, type=ir.TensorType(tensor.dtype), shape=tensor.shape, const_value=tensor)
    graph.register_initializer(held)
    return held


def insert(graph: ir.Graph, kind: str, *inputs: ir.Value, **attributes: int) -> ir.Value:
    """The result of a new node, right behind what it reads."""
    makers = [node for node in graph if any(value in inputs for value in node.outputs)]
    made = ir.Value(name=f"mutant_value_{len(graph)}", type=inputs[0].type)
    node = ir.node(kind, inputs, attributes, outputs=[made])
    if makers:
        graph.insert_after(makers[-1], node)
    else:
        graph.insert_before(graph[0], node)
    return made


def instead(graph: ir.Graph, old: ir.Value, new: ir.Value) -> None:
    """Whoever reads ``old`` reads ``new``; a node that makes ``new`` of ``old`` goes on reading it."""
    for node, index in list(old.uses()):
        if new not in node.outputs:
            node.replace_input_with(index, new)
    if old is graph.outputs[0]:
        name, old.name = old.name, f"mutant_old_{old.name}"
        new.name, new.type, new.shape = name, old.type, old.shape
        graph.outputs[0] = new


def skip(graph: ir.Graph, node: ir.Node, keep: int = 0) -> None:
    """Whoever reads the node's result reads its input ``keep``."""
    instead(graph, node.outputs[0], read(node, keep))


def change_weight(graph: ir.Graph, node: ir.Node, index: int, change: Callable[[Weight], Weight]) -> None:
    """Gives the node a weight of its own, changed."""
    tensor = weights.constant(read(node, index))
    assert tensor is not None
    node.replace_input_with(index, constant(graph, change(tensor.numpy())))


def exchange(one: ir.Node, other: ir.Node, index: int = 1) -> None:
    """The two nodes read each other's input."""
    first, second = read(one, index), read(other, index)
    one.replace_input_with(index, second)
    other.replace_input_with(index, first)


# ---------------------------------------------------------------------------------------------- faults


def missing(module: str, kind: str, place: int = 0, keep: int = 0) -> Change:
    """A node that does nothing: what it reads as input ``keep`` goes through."""
    return lambda graph: skip(graph, of(graph, module, kind, place), keep)


def scaled(module: str, kind: str, factor: float) -> Change:
    """A node's results by a factor."""

    def change(graph: ir.Graph) -> None:
        result = of(graph, module, kind).outputs[0]
        instead(graph, result, insert(graph, "Mul", result, constant(graph, factor)))

    return change


def swapped(one: str, other: str) -> Change:
    """Two modules' matrices."""
    return lambda graph: exchange(of(graph, one, "MatMul"), of(graph, other, "MatMul"))


def reordered(module: str, kind: str, order: Callable[[int], Weight], index: int = 1) -> Change:
    """Rows of a weight in another order; ``order`` gives it for their number."""
    return lambda graph: change_weight(graph, of(graph, module, kind), index, lambda weight: weight[order(len(weight))])


def two_rows(count: int) -> Weight:
    """Rows 3 and 4 change places."""
    order = np.arange(count)
    order[[3, 4]] = [4, 3]
    return order


def two_heads(size: int) -> Callable[[int], Weight]:
    """The first two heads change places."""
    return lambda count: np.r_[size : 2 * size, :size, 2 * size : count]


def head_zeroed(module: str, size: int) -> Change:
    """One head's rows of the output projection are 0."""
    return lambda graph: change_weight(
        graph,
        of(graph, module, "MatMul"),
        1,
        lambda weight: np.where((np.arange(len(weight)) // size == 1)[:, None], np.float32(0), weight),
    )


def block_missing(last: tuple[str, str], first: tuple[str, str], keep: int) -> Change:
    """What a block's first node reads as input ``keep`` goes past the block's last node."""

    def change(graph: ir.Graph) -> None:
        instead(graph, of(graph, *last, -1).outputs[0], read(of(graph, *first), keep))

    return change


def activation(kind: str, layers: range) -> Change:
    """Another activation function than GELU in these layers."""

    def change(graph: ir.Graph) -> None:
        for layer in layers:
            block = f"layer.{layer}.intermediate"
            states = of(graph, f"{block}.dense", "Add").outputs[0]
            new = insert(graph, "Relu", states) if kind == "Relu" else _tanh_gelu(graph, states)
            instead(graph, of(graph, f"{block}.intermediate_act_fn", "Mul", -1).outputs[0], new)

    return change


def _tanh_gelu(graph: ir.Graph, states: ir.Value) -> ir.Value:
    cube = insert(graph, "Mul", insert(graph, "Mul", states, states), states)
    inner = insert(graph, "Add", states, insert(graph, "Mul", cube, constant(graph, 0.044715)))
    bent = insert(graph, "Tanh", insert(graph, "Mul", inner, constant(graph, float(np.sqrt(2 / np.pi)))))
    half = insert(graph, "Mul", states, constant(graph, 0.5))
    return insert(graph, "Mul", half, insert(graph, "Add", bent, constant(graph, 1.0)))


def remasked(make: Callable[[ir.Graph, ir.Value], ir.Value], only: str = "") -> Change:
    """Nodes of modules whose path has ``only`` in it read another mask."""

    def change(graph: ir.Graph) -> None:
        mask = next(value for value in graph.inputs if value.name == "attention_mask")
        readers = [use for use in mask.uses() if use.node.op_type != "Shape" and only in weights.node_module(use.node)]
        other = make(graph, mask)
        for node, index in readers:
            node.replace_input_with(index, other)

    return change


def all_ones(graph: ir.Graph, mask: ir.Value) -> ir.Value:
    return insert(graph, "Max", mask, constant(graph, np.int64(1)))


def flipped(graph: ir.Graph, mask: ir.Value) -> ir.Value:
    """From the other end: padding is looked for on the wrong side."""
    return insert(graph, "Slice", mask, *(constant(graph, [bound]) for bound in (-1, -(2**62), 1, -1)))


def of_first_row(graph: ir.Graph, mask: ir.Value) -> ir.Value:
    """Every row's mask is the first row's."""
    first = insert(graph, "Gather", mask, constant(graph, [0]), axis=0)
    shape = insert(graph, "Shape", mask)
    shape.type = ir.TensorType(ir.DataType.INT64)
    return insert(graph, "Expand", first, shape)


def unmasked_scores(layers: slice) -> Change:
    """Softmax sees scores without the mask in these layers."""

    def change(graph: ir.Graph) -> None:
        for softmax in [node for node in graph if node.op_type == "Softmax"][layers]:
            skip(graph, maker(read(softmax, 0)))

    return change


def pooled(kind: str, **attributes: int) -> Change:
    """Another pooling over all columns: ``first``, ``last``, or a reducing operator."""

    def change(graph: ir.Graph) -> None:
        node = of(graph, "head.steps.0", "Squeeze")
        states = read(maker(read(node, 0)), 1)
        if kind in ("first", "last"):
            new = insert(graph, "Gather", states, constant(graph, np.int64(0 if kind == "first" else -1)), axis=1)
        else:
            new = insert(graph, kind, states, constant(graph, [1]), keepdims=0)
        instead(graph, node.outputs[0], new)

    return change


def not_pooled(graph: ir.Graph) -> None:
    """Every token's state comes out."""
    instead(graph, graph.outputs[0], read(maker(read(of(graph, "head.steps.0", "Squeeze"), 0)), 1))
    graph.outputs[0].shape = ir.Shape(["batch_size", "seq_len", graph.outputs[0].shape[-1]])


def not_normalised(graph: ir.Graph) -> None:
    """The vector before its last step."""
    instead(graph, graph.outputs[0], read(of(graph, "head.steps.1", "Abs"), 0))


def normalised(graph: ir.Graph) -> None:
    """The vector divided by its norm."""
    instead(graph, graph.outputs[0], insert(graph, "LpNormalization", graph.outputs[0], axis=-1, p=2))


def dims_shuffled(graph: ir.Graph) -> None:
    """Two dims of the vector change places."""
    result = graph.outputs[0]
    assert result.shape is not None and isinstance(width := result.shape[-1], int)
    instead(graph, result, insert(graph, "Gather", result, constant(graph, two_rows(width)), axis=-1))


def positions_of_first_token(graph: ir.Graph) -> None:
    """Every token has the position of the first one."""
    node = of(graph, "position_embeddings", "Gather")
    first = insert(graph, "Gather", read(node, 1), constant(graph, [0]), axis=1)
    node.replace_input_with(1, first)


# ---------------------------------------------------------------------------------------------- families

HEAD: Mapping[str, Change] = {
    "dims of the vector shuffled": dims_shuffled,
    "mean of all columns": pooled("ReduceMean"),
    "max of all columns": pooled("ReduceMax"),
    "first token": pooled("first"),
    "mask dropped": remasked(all_ones),
    "mask dropped from pooling": remasked(all_ones, "head"),
    "mask from the wrong side": remasked(flipped),
    "pooling's mask from the wrong side": remasked(flipped, "head"),
    "every row has the first one's mask": remasked(of_first_row),
}


def bert_like(layers: int, head_size: int) -> dict[str, Change]:
    """Faults of a BERT, RoBERTa and their like with mean pooling and normalising."""
    last, middle = f"layer.{layers - 1}", f"layer.{layers // 2}"
    return dict(HEAD) | {
        "last token": pooled("last"),
        "mask dropped from attention": unmasked_scores(slice(None)),
        "mask dropped from one layer": unmasked_scores(slice(layers // 2, layers // 2 + 1)),
        "query and key swapped": swapped(f"{middle}.attention.self.query", f"{middle}.attention.self.key"),
        "value and output swapped": swapped(f"{middle}.attention.self.value", f"{middle}.attention.output.dense"),
        "one projection of two layers swapped": swapped("layer.0.attention.self.value", f"{last}.attention.self.value"),
        "layer missing": block_missing(
            (f"{middle}.output.LayerNorm", "LayerNormalization"), (f"{middle}.attention.self.query", "MatMul"), 0
        ),
        "LayerNorm missing": missing(f"{middle}.attention.output.LayerNorm", "LayerNormalization"),
        "residual missing": missing(f"{middle}.output", "Add"),
        "scores not scaled": scaled(f"{middle}.attention.self", "MatMul", head_size**0.5),
        "ReLU": activation("Relu", range(layers // 2, layers // 2 + 1)),
        "tanh form of GELU": activation("Tanh", range(layers)),
        "two rows of a matrix swapped": reordered(f"{middle}.output.dense", "MatMul", two_rows),
        "head zeroed": head_zeroed(f"{middle}.attention.output.dense", head_size),
        "two heads swapped": reordered(f"{middle}.attention.output.dense", "MatMul", two_heads(head_size)),
        "positions off by one": reordered("position_embeddings", "Gather", lambda n: np.roll(np.arange(n), -1), 0),
        "one position for all": positions_of_first_token,
        "token types dropped": missing("embeddings", "Add"),
    }


def decoder(layers: int, head_size: int) -> dict[str, Change]:
    """Faults of a decoder with RMSNorm, rotary positions and grouped heads, whose last token's state is normalised."""
    last, middle = f"layers.{layers - 1}", f"layers.{layers // 2}"
    attention, mlp = f"{middle}.self_attn", f"{middle}.mlp"
    return dict(HEAD) | {
        "not normalised": not_normalised,
        "last column": pooled("last"),
        "padding not hidden from attention": missing("encoder", "And", -1),
        "later tokens not hidden": missing("encoder", "And", -1, 1),
        "mask dropped from one layer": unmasked_scores(slice(layers // 2, layers // 2 + 1)),
        "key and value swapped": swapped(f"{attention}.k_proj", f"{attention}.v_proj"),
        "query and output swapped": swapped(f"{attention}.q_proj", f"{attention}.o_proj"),
        "gate and up-projection swapped": swapped(f"{mlp}.gate_proj", f"{mlp}.up_proj"),
        "one projection of two layers swapped": swapped("layers.0.self_attn.v_proj", f"{last}.self_attn.v_proj"),
        "layer missing": block_missing((middle, "Add"), (middle, "Add"), 0),
        "norm missing": _no_rms_norm(f"{middle}.post_attention_layernorm"),
        "query's norm missing": _no_rms_norm(f"{attention}.q_norm"),
        "residual missing": missing(middle, "Add", -1, 1),
        "scores not scaled": scaled(attention, "MatMul", head_size**0.5),
        "ReLU": _relu_gate(mlp),
        "two rows of a matrix swapped": reordered(f"{mlp}.down_proj", "MatMul", two_rows),
        "head zeroed": head_zeroed(f"{attention}.o_proj", head_size),
        "two heads swapped": reordered(f"{attention}.o_proj", "MatMul", two_heads(head_size)),
        "halves turned the wrong way": missing(attention, "Neg"),
        "key not turned": _key_not_turned(attention),
        "positions of another base": reordered("rotary_emb", "GatherND", lambda n: np.arange(n) * 2 % n, 0),
        "keys of the wrong group": _groups_interleaved(attention),
    }


def _no_rms_norm(module: str) -> Change:
    """An RMSNorm that only multiplies by its weight."""

    def change(graph: ir.Graph) -> None:
        states = read(of(graph, module, "Abs"), 0)
        of(graph, module, "Mul", -1).replace_input_with(1, states)

    return change


def _key_not_turned(module: str) -> Change:
    """A key without its position."""

    def change(graph: ir.Graph) -> None:
        turned = of(graph, module, "Add", 1)
        instead(graph, turned.outputs[0], read(maker(read(turned, 0)), 0))

    return change


def _groups_interleaved(module: str) -> Change:
    """Query heads meet the keys in the order 0 1 0 1 in place of 0 0 1 1."""

    def change(graph: ir.Graph) -> None:
        keys = read(maker(read(of(graph, module, "MatMul"), 1)), 0)
        order = constant(graph, [0, 2, 1, 3])
        instead(graph, keys, insert(graph, "Gather", keys, order, axis=1))

    return change


def _relu_gate(module: str) -> Change:
    """ReLU in place of SiLU."""

    def change(graph: ir.Graph) -> None:
        states = of(graph, f"{module}.gate_proj", "MatMul").outputs[0]
        instead(graph, of(graph, f"{module}.act_fn", "Mul").outputs[0], insert(graph, "Relu", states))

    return change
