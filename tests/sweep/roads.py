"""The roads that a model's numbers can take, each a function: batch → arrays, one an output; and their comparison."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
import transformers
from numpy.typing import NDArray
from torch import Tensor, nn

from QEfficient import QEFFAutoModel
from QEfficient.architectures import find
from QEfficient.build.torch_graph import graph_module, graph_specs
from QEfficient.numerics.probes import draw
from QEfficient.runtime.run import frame_count
from tests.sweep.build import types
from tests.sweep.case import LIMIT, Case, Inputs

Arrays = list[NDArray[np.float32]]

TABLES = {
    "task_type_ids": "task_type_vocab_size",
    "input_shape_ids": "shape_vocab_size",
    "input_pronunciation_ids": "pronunciation_vocab_size",
}
"""Input that is looked up as it is → what HuggingFace's config calls the size of its table."""


def reference(case: Case, model: nn.Module, inputs: Inputs) -> Arrays:
    """A plain call of the unpatched model; a row at a time where padding would change a row's numbers."""
    with torch.no_grad():
        if pads(case, model) or "attention_mask" not in inputs:
            return [tensor.numpy() for tensor in case.call(model, inputs)]
        rows = [case.call(model, row) for row in alone(inputs)]
    width = frame_count(inputs["attention_mask"].shape[1], find(case.model_type).frames(model.config.to_dict()))
    padded = [[_widened(tensor, width) for tensor in row] for row in rows]
    return [np.concatenate(column) for column in zip(*padded, strict=True)]


def alone(inputs: Inputs) -> list[Inputs]:
    """Each row by itself, without its padding."""
    lengths = inputs["attention_mask"].sum(1).tolist()
    return [
        {name: value[row : row + 1, :length] for name, value in inputs.items()} for row, length in enumerate(lengths)
    ]


def _widened(tensor: Tensor, width: int) -> NDArray[np.float32]:
    if tensor.ndim < 3:
        return tensor.numpy()
    return np.pad(tensor.numpy(), ((0, 0), (0, width - tensor.shape[1]), (0, 0)))


def pads(case: Case, model: nn.Module) -> bool:
    """Whether a row's numbers stay the same beside padding."""
    return find(case.model_type).pads(model.config.to_dict())


def table(ours: QEFFAutoModel) -> int | None:
    """Rows of the table that the program's ids are looked up in, as its manifest says; ``None`` without a plain one."""
    return ours._need_loaded().program.manifest.tables.get("input_ids")


def embeddings(model: nn.Module) -> int | None:
    """The same, as HuggingFace's model says; some have no such table, or one of a class of their own."""
    words: Any = getattr(model, "text_model", model)  # a model of texts and images may tell of its patches
    try:
        found = words.get_input_embeddings()
    except (AttributeError, NotImplementedError):
        return None
    return getattr(found, "num_embeddings", None) or getattr(getattr(found, "weight", None), "shape", [None])[0]


def exported_module(ours: QEFFAutoModel, inputs: Inputs) -> Arrays:
    """The torch module that is exported, blocks swapped."""
    module, specs = graph_module(ours._recipe(False, "on"))
    with torch.no_grad():
        output = module(**{spec.name: inputs[spec.name] for spec in specs})
    return [tensor.numpy() for tensor in (output if isinstance(output, tuple) else (output,))]


def graph(ours: QEFFAutoModel, inputs: Inputs) -> Arrays:
    """The exported ONNX file in a session of onnxruntime's own."""
    session = onnxruntime.InferenceSession(Path(str(ours.onnx_path)), providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_inputs()]
    found: Arrays = session.run(None, {name: inputs[name].numpy() for name in names})
    return found


def program(ours: QEFFAutoModel, inputs: Inputs) -> Arrays:
    """The compiled program through the public path, on whatever it was compiled for."""
    return list(ours.generate(inputs).values())


def lengths(case: Case, model: nn.Module, batches: Sequence[Inputs]) -> dict[str, list[int]]:
    """The keyword ``seq_len``, for buckets that hold every batch."""
    masks = [inputs["attention_mask"] for inputs in batches if "attention_mask" in inputs]
    if not masks:
        return {}
    own = sorted({int(length) for mask in masks for length in mask.sum(1)})
    limit = find(case.model_type).max_length(model.config.to_dict()) or LIMIT
    return {"seq_len": [8, min(limit, LIMIT)] if pads(case, model) and max(own) <= min(limit, LIMIT) else own}


def with_all(case: Case, ours: QEFFAutoModel, inputs: Inputs) -> Inputs:
    """The batch with token types, boxes, paths and the like, where the graph takes them."""
    specs = graph_specs(ours._recipe(False, "on"))
    found = {"token_type_ids": types(inputs)} if any(spec.name == "token_type_ids" for spec in specs) else {}
    return {**inputs, **found, **beside(case, inputs)}


def beside(case: Case, inputs: Inputs) -> Inputs:
    """Random boxes, paths and the like, for each token of the batch."""
    rng = np.random.default_rng(inputs["input_ids"].sum().item()) if "input_ids" in inputs else None
    found = find(case.model_type).more(case.config)
    config = getattr(transformers, case.model_class).config_class(**case.config)
    tables = {name: getattr(config, size) for name, size in TABLES.items() if hasattr(config, size)}
    return {
        one.name: torch.from_numpy(draw(one, tuple(inputs["input_ids"].shape), rng, tables)) for one in found if rng
    }


def unpadded(case: Case, model: nn.Module, inputs: Inputs) -> list[Inputs]:
    """The batch, or each of its rows by itself where padding would change a row's numbers."""
    if pads(case, model) or "attention_mask" not in inputs or bool(inputs["attention_mask"].all()):
        return [inputs]
    return alone(inputs)


def input_names(ours: QEFFAutoModel) -> list[str]:
    """Inputs of the exported graph."""
    session = onnxruntime.InferenceSession(Path(str(ours.onnx_path)), providers=["CPUExecutionProvider"])
    return [one.name for one in session.get_inputs()]


def real_entries(case: Case, inputs: Inputs, array: NDArray[np.float32]) -> NDArray[np.float32]:
    """The vectors of an output that count, ``(vectors, dim)``: those of real tokens."""
    if array.ndim == 4:  # a map (rows, channels, height, width): one vector a place
        array = array.transpose(0, 2, 3, 1)
    real = None if array.ndim != 3 else inputs.get("attention_mask")
    if case.real is not None:
        real = case.real(inputs)
    chosen = array if real is None else array[real.numpy().astype(bool)]
    return chosen.reshape(-1, array.shape[-1])


def agreement(want: NDArray[np.float32], got: NDArray[np.float32]) -> tuple[float, float]:
    """Least cosine of two sets of vectors, and their largest difference as a part of the vector's norm."""
    assert want.shape == got.shape
    a, b = want.astype(np.float64), got.astype(np.float64)
    norms = np.linalg.norm(a, axis=-1)
    cosine = (a * b).sum(-1) / (norms * np.linalg.norm(b, axis=-1))
    return float(cosine.min()), float((np.abs(a - b).max(-1) / norms).max())
