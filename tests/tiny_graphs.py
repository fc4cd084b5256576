"""A tiny encoder as an ONNX file: one attention layer with random weights, written without torch.

It answers as real encoders do: a row's vectors depend on every real token of that row, on nothing else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper, parser
from onnx.reference import ReferenceEvaluator

from QEfficient.records import OnnxModel, TensorSpec

VOCABULARY, DIM, POSITIONS = 50, 16, 64
EXTERNAL = "model.onnx.data"

_ENCODER = """
<ir_version: 9, opset_import: ["" : 18]>
tiny ({inputs}) => ({output})
{{
    words = Gather <axis = 0> (w_words, input_ids)
    ids_shape = Shape (input_ids)
    one = Constant <value_ints = [1]> ()
    two = Constant <value_ints = [2]> ()
    zero = Constant <value_ints = [0]> ()
    last = Constant <value_ints = [-1]> ()
    axis_1 = Constant <value_ints = [1]> ()
    axis_2 = Constant <value_ints = [2]> ()
    length = Slice (ids_shape, one, two, zero)
    positions = Slice (w_positions, zero, length, zero)
    placed = Add (words, positions)
    {types}
    query = MatMul (embedded, w_query)
    key = MatMul (embedded, w_key)
    value = MatMul (embedded, w_value)
    key_t = Transpose <perm = [0, 2, 1]> (key)
    scores = MatMul (query, key_t)
    mask = Cast <to = 1> (attention_mask)
    row_mask = Unsqueeze (mask, axis_1)
    unit = Constant <value_float = 1.0> ()
    far = Constant <value_float = -10000.0> ()
    off = Sub (unit, row_mask)
    bias = Mul (off, far)
    biased = Add (scores, bias)
    weights = Softmax <axis = -1> (biased)
    attended = MatMul (weights, value)
    summed = Add (embedded, attended)
    normed = LayerNormalization <axis = -1, epsilon = 1e-6> (summed, w_scale)
    hidden = MatMul (normed, w_up)
    active = Tanh (hidden)
    grown = MatMul (active, w_down)
    states = Add (normed, grown)
    {head}
}}
"""
_MEAN = """
    column = Unsqueeze (mask, last)
    kept = Mul (states, column)
    total = ReduceSum <keepdims = 0> (kept, axis_1)
    count = ReduceSum <keepdims = 1> (mask, axis_1)
    output = Div (total, count)
"""


def make(folder: Path, *, pooled: bool = True, token_types: bool = False, external: bool = True) -> OnnxModel:
    """Writes ``folder/model.onnx``, with its weights in ``model.onnx.data`` where ``external``.

    Inputs are int64 ``[batch_size, seq_len]``; the output is ``[batch_size, 16]`` or ``[batch_size, seq_len, 16]``.
    """
    names = ["input_ids", "attention_mask", *(["token_type_ids"] if token_types else [])]
    shape: tuple[int | str, ...] = ("batch_size", DIM) if pooled else ("batch_size", "seq_len", DIM)
    text = _ENCODER.format(
        inputs=", ".join(f"int64[batch_size, seq_len] {name}" for name in names),
        output=f"float[{', '.join(map(str, shape))}] output",
        types="typed = Gather <axis = 0> (w_types, token_type_ids)\n    embedded = Add (placed, typed)"
        if token_types
        else "embedded = Identity (placed)",
        head=_MEAN if pooled else "output = Identity (states)",
    )
    model = parser.parse_model(text)
    model.graph.initializer.extend(
        numpy_helper.from_array(array, name) for name, array in _weights(token_types).items()
    )
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "model.onnx"
    onnx.save_model(model, path, save_as_external_data=external, location=EXTERNAL, size_threshold=0)
    return OnnxModel(
        path=path,
        inputs=tuple(TensorSpec(name, "int64", ("batch_size", "seq_len")) for name in names),
        outputs=(TensorSpec("output", "float32", shape),),
        digest=hashlib.sha256(path.read_bytes()).hexdigest(),
    )


def _weights(token_types: bool) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    shapes = {"w_words": (VOCABULARY, DIM), "w_positions": (POSITIONS, DIM)}
    shapes |= {f"w_{part}": (DIM, DIM) for part in ("query", "key", "value")}
    shapes |= {"w_up": (DIM, 4 * DIM), "w_down": (4 * DIM, DIM)}
    if token_types:
        shapes["w_types"] = (2, DIM)
    arrays = {name: random.standard_normal(shape).astype(np.float32) / 2 for name, shape in shapes.items()}
    return arrays | {"w_scale": np.ones(DIM, np.float32)}


def reference(model: OnnxModel, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """The output of ``model`` as onnx's own evaluator computes it, node by node in numpy."""
    return np.asarray(ReferenceEvaluator(str(model.path)).run(None, dict(arrays))[0])


def feed(*lengths: int, width: int | None = None, seed: int = 0, token_types: bool = False) -> dict[str, np.ndarray]:
    """Random rows of these lengths, padded on the right to ``width`` or to the longest."""
    random = np.random.default_rng(seed)
    shape = (len(lengths), width or max(lengths))
    mask = (np.arange(shape[1]) < np.array(lengths)[:, None]).astype(np.int64)
    arrays = {"input_ids": random.integers(1, VOCABULARY, shape) * mask, "attention_mask": mask}
    return arrays | ({"token_type_ids": random.integers(0, 2, shape) * mask} if token_types else {})
