"""How each contender is loaded and asked, as its documentation says; each function imports its own library only.

A loader takes its options and gives a :class:`Loaded`. This file runs in the contender's environment, where neither
this repository nor the other contenders need be installed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

LIMIT = 512  # tokens of a text; the same for all
MULTIPLY = (1024, 384, 1536)  # rows, inner size, columns: what the limit of the machine is measured at


@dataclass
class Loaded:
    """A model in memory.

    Attributes:
        encode: Texts and a batch size → vectors ``(texts, dim)``.
        batched: Whether the batch size matters to it.
        warm: What it asks to be called before it is at its best.
    """

    encode: Callable[[Sequence[str], int], Any]
    batched: bool = True
    warm: Callable[[], object] = lambda: None


def qefficient(options: Mapping[str, Any]) -> Loaded:
    """A saved program: no torch, and no batch size to choose."""
    from QEfficient import QEFFAutoModel

    model = QEFFAutoModel.from_pretrained(options["folder"])
    return Loaded(lambda texts, _: model.encode(texts, show_progress_bar=False), batched=False, warm=model.warmup)


def sentence_transformers(options: Mapping[str, Any]) -> Loaded:
    """``SentenceTransformer`` with one of its back ends; it sorts texts by length itself."""
    from sentence_transformers import SentenceTransformer

    keywords: dict[str, Any] = {}
    if options["backend"] == "torch":
        _torch(options)
    elif options["backend"] == "onnx":
        keywords = {"provider": "CPUExecutionProvider", "session_options": _session_options(options)}
    else:
        keywords = {"ov_config": _openvino(options)}
    model = SentenceTransformer(
        options["folder"], backend=options["backend"], device="cpu", local_files_only=True, model_kwargs=keywords
    )
    model.max_seq_length = LIMIT
    return Loaded(lambda texts, batch: model.encode(texts, batch_size=batch, show_progress_bar=False))


def transformers(options: Mapping[str, Any]) -> Loaded:
    """``AutoModel`` in float32, with or without ``torch.compile``; texts sorted by length."""
    from transformers import AutoModel, AutoTokenizer

    torch = _torch(options)
    tokenizer = AutoTokenizer.from_pretrained(options["folder"])
    model = AutoModel.from_pretrained(options["folder"], dtype=torch.float32).eval()
    if options.get("compile"):
        model = torch.compile(model, dynamic=True)
    return Loaded(_sorted(tokenizer, model, torch.inference_mode))


def optimum_onnx(options: Mapping[str, Any]) -> Loaded:
    """``ORTModelForFeatureExtraction``; texts sorted by length."""
    from optimum.onnxruntime import ORTModelForFeatureExtraction
    from transformers import AutoTokenizer

    torch = _torch(options)
    model = ORTModelForFeatureExtraction.from_pretrained(
        options["folder"], subfolder="onnx", file_name="model.onnx", session_options=_session_options(options)
    )
    return Loaded(_sorted(AutoTokenizer.from_pretrained(options["folder"]), model, torch.inference_mode))


def optimum_intel(options: Mapping[str, Any]) -> Loaded:
    """``OVModelForFeatureExtraction``; texts sorted by length."""
    from optimum.intel import OVModelForFeatureExtraction
    from transformers import AutoTokenizer

    torch = _torch(options)
    model = OVModelForFeatureExtraction.from_pretrained(
        options["folder"], subfolder="openvino", file_name="openvino_model.xml", ov_config=_openvino(options)
    )
    return Loaded(_sorted(AutoTokenizer.from_pretrained(options["folder"]), model, torch.inference_mode))


def fastembed(options: Mapping[str, Any]) -> Loaded:
    """``TextEmbedding`` with a custom model: its own models come from a hub, this one from a folder."""
    import numpy as np
    from fastembed import TextEmbedding
    from fastembed.common.model_description import ModelSource, PoolingType

    name = "local/model"
    TextEmbedding.add_custom_model(
        model=name,
        pooling=PoolingType.MEAN,
        normalization=True,
        sources=ModelSource(hf=name),  # never asked: the path below goes before it
        dim=options["dim"],
        model_file="onnx/model.onnx",
    )
    model = TextEmbedding(name, specific_model_path=options["folder"], threads=options["threads"])
    return Loaded(lambda texts, batch: np.stack(list(model.embed(list(texts), batch_size=batch))))


def _sorted(tokenizer: Any, model: Any, mode: Callable[[], Any]) -> Callable[[Sequence[str], int], Any]:
    """Tokenise a batch, run it, mean over its tokens, length 1: what the model's card shows, longest texts first."""
    import numpy as np

    def encode(texts: Sequence[str], batch: int) -> Any:
        order = sorted(range(len(texts)), key=lambda i: -len(texts[i]))
        vectors: list[Any] = []
        with mode():
            for start in range(0, len(order), batch):
                rows = [texts[i] for i in order[start : start + batch]]
                tokens = tokenizer(rows, padding=True, truncation=True, max_length=LIMIT, return_tensors="pt")
                mask = tokens["attention_mask"].unsqueeze(-1).float()
                hidden = model(**tokens)[0].float()
                pooled = (hidden * mask).sum(1) / mask.sum(1).clamp(min=1e-9)
                vectors.append((pooled / pooled.norm(dim=1, keepdim=True).clamp(min=1e-12)).numpy())
        result = np.empty((len(texts), vectors[0].shape[1]), np.float32)
        result[order] = np.concatenate(vectors)
        return result

    return encode


# ---------------------------------------------------------------------------- the limit: one multiplication a "text"


def multiply_torch(options: Mapping[str, Any]) -> Loaded:
    """float32 ``matmul``."""
    torch = _torch(options)
    rows, inner, columns = MULTIPLY
    left, right = torch.randn(rows, inner), torch.randn(inner, columns)

    def encode(texts: Sequence[str], _: int) -> Any:
        for _text in texts:
            torch.matmul(left, right)

    return Loaded(encode, batched=False)


def multiply_onnxruntime(options: Mapping[str, Any]) -> Loaded:
    """A graph of one ``MatMul`` by a constant."""
    import numpy as np
    import onnxruntime

    session = onnxruntime.InferenceSession(
        _multiplication().SerializeToString(), _session_options(options), providers=["CPUExecutionProvider"]
    )
    left = np.ones(MULTIPLY[:2], np.float32)

    def encode(texts: Sequence[str], _: int) -> Any:
        for _text in texts:
            session.run(None, {"left": left})

    return Loaded(encode, batched=False)


def multiply_openvino(options: Mapping[str, Any]) -> Loaded:
    """The same graph on OpenVINO in float32."""
    import numpy as np
    import openvino

    core = openvino.Core()
    model = core.read_model(_multiplication().SerializeToString(), b"")
    request = core.compile_model(model, "CPU", _openvino({**options, "precision": "f32"})).create_infer_request()
    request.set_input_tensor(openvino.Tensor(np.ones(MULTIPLY[:2], np.float32)))

    def encode(texts: Sequence[str], _: int) -> Any:
        for _text in texts:
            request.infer()

    return Loaded(encode, batched=False)


def _multiplication() -> Any:
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    rows, inner, columns = MULTIPLY
    weight = np.random.default_rng(0).standard_normal((inner, columns)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["left", "right"], ["product"])],
        "multiplication",
        [helper.make_tensor_value_info("left", TensorProto.FLOAT, [rows, inner])],
        [helper.make_tensor_value_info("product", TensorProto.FLOAT, [rows, columns])],
        [numpy_helper.from_array(weight, "right")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


# ------------------------------------------------------------------------------------------------- thread budgets


def _torch(options: Mapping[str, Any]) -> Any:
    import torch

    torch.set_num_threads(options["threads"])
    return torch


def _session_options(options: Mapping[str, Any]) -> Any:
    import onnxruntime

    chosen = onnxruntime.SessionOptions()
    chosen.intra_op_num_threads = options["threads"]
    return chosen


def _openvino(options: Mapping[str, Any]) -> dict[str, Any]:
    """Without a precision OpenVINO takes its own: bf16 where the CPU has it."""
    chosen: dict[str, Any] = {"INFERENCE_NUM_THREADS": options["threads"]}
    if "precision" in options:
        chosen["INFERENCE_PRECISION_HINT"] = options["precision"]
    return chosen
