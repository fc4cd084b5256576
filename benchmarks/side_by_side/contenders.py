"""Who takes part, and in which form each wants the model."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from benchmarks.side_by_side.environments import python_of

OURS = "QEfficient"  # the environment of the interpreter that runs the benchmark


@dataclass(frozen=True, slots=True)
class Contender:
    """One line of the table.

    Attributes:
        name: As the table has it.
        environment: Of ``environments.py``, or :data:`OURS`.
        loader: ``module.function`` of a module beside ``worker.py``.
        form: What it reads, a name of :data:`FORMS`; ``None``: the model's own folder.
        options: Further options of the loader.
    """

    name: str
    environment: str
    loader: str
    form: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def ours(self) -> bool:
        """Whether it is this library."""
        return self.loader.endswith(".qefficient")


AnyContender = TypeVar("AnyContender", bound=Contender)

_COMPILE = """
import sys
from QEfficient import QEFFAutoModel
model = QEFFAutoModel.from_pretrained(sys.argv[1], pooling="auto")
model.max_seq_length = 512
model.compile(backend=sys.argv[3], compute=sys.argv[4])
model.save_pretrained(sys.argv[2])
"""
_SAVE = """
import sys
from sentence_transformers import SentenceTransformer
model = SentenceTransformer(sys.argv[1], backend=sys.argv[3], device="cpu", local_files_only=True)
model.max_seq_length = 512
model.tokenizer.init_kwargs["max_length"] = 512  # fastembed takes the smaller of the two in the file
model.save_pretrained(sys.argv[2])
"""

Form = tuple[str, str, tuple[str, ...]]
"""Environment, program and its further arguments, after the model's folder and the folder to write."""

FORMS: Mapping[str, Form] = {
    "onnx": ("onnx", _SAVE, ("onnx",)),
    "openvino": ("openvino", _SAVE, ("openvino",)),
    "onnxruntime-fp32": (OURS, _COMPILE, ("onnxruntime", "fp32")),
    "onnxruntime-int8": (OURS, _COMPILE, ("onnxruntime", "int8")),
    "openvino-fp32": (OURS, _COMPILE, ("openvino", "fp32")),
    "openvino-bf16": (OURS, _COMPILE, ("openvino", "bf16")),
    "openvino-int8": (OURS, _COMPILE, ("openvino", "int8")),
}

F32 = {"precision": "f32"}
CONTENDERS = (
    Contender("QEfficient, onnxruntime", OURS, "loaders.qefficient", "onnxruntime-fp32"),
    Contender("QEfficient, OpenVINO", OURS, "loaders.qefficient", "openvino-fp32"),
    Contender("QEfficient, OpenVINO bf16", OURS, "loaders.qefficient", "openvino-bf16"),
    Contender("QEfficient, onnxruntime int8", OURS, "loaders.qefficient", "onnxruntime-int8"),
    Contender("QEfficient, OpenVINO int8", OURS, "loaders.qefficient", "openvino-int8"),
    Contender("sentence-transformers", "transformers", "loaders.sentence_transformers", None, {"backend": "torch"}),
    Contender("sentence-transformers, onnx", "onnx", "loaders.sentence_transformers", "onnx", {"backend": "onnx"}),
    Contender(
        "sentence-transformers, openvino f32",
        "openvino",
        "loaders.sentence_transformers",
        "openvino",
        {"backend": "openvino"} | F32,
    ),
    Contender(
        "sentence-transformers, openvino",
        "openvino",
        "loaders.sentence_transformers",
        "openvino",
        {"backend": "openvino"},
    ),
    Contender("optimum-onnx", "onnx", "loaders.optimum_onnx", "onnx"),
    Contender("optimum-intel f32", "openvino", "loaders.optimum_intel", "openvino", F32),
    Contender("optimum-intel", "openvino", "loaders.optimum_intel", "openvino"),
    Contender("fastembed", "fastembed", "loaders.fastembed", "onnx", {"dim": 384}),
    Contender("transformers eager", "transformers", "loaders.transformers"),
    Contender("torch.compile", "transformers", "loaders.transformers", None, {"compile": True}),
)
REFERENCE = "transformers eager"
"""What every vector is compared with: each text by itself, in float32."""
MULTIPLIERS = (
    Contender("torch", OURS, "loaders.multiply_torch"),
    Contender("onnxruntime", OURS, "loaders.multiply_onnxruntime"),
    Contender("OpenVINO", OURS, "loaders.multiply_openvino"),
)
"""Who measures the machine's matrix-multiply rate."""


def chosen(contenders: Sequence[AnyContender], words: Sequence[str]) -> list[AnyContender]:
    """Those that a word names, in full, or by a part where it is nobody's full name; all without words."""
    names = {one.name for one in contenders}
    return [
        one
        for one in contenders
        if not words or any(word == one.name if word in names else word in one.name for word in words)
    ]


def interpreter(environments: Path, name: str) -> Path:
    """The Python of an environment."""
    return Path(sys.executable) if name == OURS else python_of(environments, name)


def prepare(
    folder: Path,
    environments: Path,
    form: str,
    model: str,
    settings: Mapping[str, str],
    forms: Mapping[str, Form] = FORMS,
) -> Path:
    """The model in a form, written by whoever it belongs to; ours anew every time, the peers' once.

    Args:
        folder: Holds a folder for each form.
        environments: Holds the environments.
        form: A name of ``forms``.
        model: The model's own folder.
        settings: Environment variables.
        forms: How each is made.

    Raises:
        subprocess.CalledProcessError: It could not be made; ``stderr`` says why.
    """
    environment, program, arguments = forms[form]
    target = folder / form
    if environment != OURS and target.is_dir():
        return target
    partial = folder / f"{form}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    command = [str(interpreter(environments, environment)), "-c", program, model, str(partial), *arguments]
    subprocess.run(command, env=dict(settings), check=True, capture_output=True, text=True)
    shutil.rmtree(target, ignore_errors=True)
    partial.rename(target)
    return target
