"""How each contender makes a HuggingFace folder into what it reads; each function imports its own library only.

    python -c PROGRAM FOLDER TARGET FUNCTION [OPTIONS …]        # PROGRAM: see forms.py

This file runs in the contender's environment. Its functions take the model's folder and the folder to write.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FAST = "PreTrainedTokenizerFast"
GGUF = "BENCH_GGUF"
"""The environment variable with the path of the GGUF file that the model's weights come from."""


def qefficient(source: Path, target: Path, backend: str, compute: str) -> None:
    """Compiled, and saved. Few bits lose this model more than ``compile`` allows; the benchmark compares the tokens."""
    from QEfficient import QEFFAutoModelForCausalLM

    model = QEFFAutoModelForCausalLM.from_pretrained(source)
    model.compile(backend=backend, compute=compute, verify="off")
    model.save_pretrained(target)


def optimum_onnx(source: Path, target: Path) -> None:
    """``ORTModelForCausalLM`` with its cache."""
    from optimum.onnxruntime import ORTModelForCausalLM

    with older(source, target.with_suffix(".older")) as folder:
        ORTModelForCausalLM.from_pretrained(folder, export=True).save_pretrained(target)


def optimum_intel(source: Path, target: Path, bits: str) -> None:
    """``OVModelForCausalLM``, its weights in 32, 8 or 4 bits; with the tokenizer's model, which GenAI asks for."""
    import openvino
    from openvino_tokenizers import convert_tokenizer
    from optimum.intel import OVModelForCausalLM, OVWeightQuantizationConfig
    from transformers import AutoTokenizer

    quantized: dict[str, Any] = {"load_in_8bit": False}
    if bits != "32":
        group = {"group_size": 64} if bits == "4" else {}  # 128, the default, does not divide this model's 576
        quantized = {"quantization_config": OVWeightQuantizationConfig(bits=int(bits), **group)}
    OVModelForCausalLM.from_pretrained(source, export=True, compile=False, **quantized).save_pretrained(target)
    tokenizer = AutoTokenizer.from_pretrained(source)
    for name, model in zip(
        ("tokenizer", "detokenizer"), convert_tokenizer(tokenizer, with_detokenizer=True), strict=True
    ):
        openvino.save_model(model, target / f"openvino_{name}.xml")
    tokenizer.save_pretrained(target)


def onnxruntime_genai(source: Path, target: Path, precision: str) -> None:
    """By its model builder, with its defaults for the CPU."""
    with tempfile.TemporaryDirectory() as cache:
        words = {"-i": source, "-o": target, "-p": precision, "-e": "cpu", "-c": cache}
        options = [str(part) for pair in words.items() for part in pair]
        subprocess.run([sys.executable, "-m", "onnxruntime_genai.models.builder", *options], check=True)


def llama_cpp(source: Path, target: Path, kind: str) -> None:
    """The GGUF file that the weights come from, as it is or with its matrices in another type."""
    import gguf
    import numpy as np

    target.mkdir()
    file = Path(os.environ[GGUF])
    if kind == "shipped":
        shutil.copy(file, target / "model.gguf")
        return
    reader = gguf.GGUFReader(file)
    name = reader.fields["general.architecture"].contents()
    writer = gguf.GGUFWriter(target / "model.gguf", name)
    types = {"f32": gguf.LlamaFileType.ALL_F32, "f16": gguf.LlamaFileType.MOSTLY_F16}
    for key, field in reader.fields.items():
        if key.startswith("GGUF.") or key in ("general.architecture", "general.file_type"):
            continue
        inner = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(key, field.contents(), field.types[0], inner)
    writer.add_file_type(types[kind])
    for tensor in reader.tensors:
        wide = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        narrow = kind == "f16" and wide.ndim > 1
        writer.add_tensor(tensor.name, wide.astype(np.float16 if narrow else np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def ctranslate2(source: Path, target: Path) -> None:
    """By its converter, in float32; other types are made of it on loading."""
    from ctranslate2.converters import TransformersConverter

    with older(source, target.with_suffix(".older")) as folder:
        TransformersConverter(str(folder)).convert(str(target))


class older:  # noqa: N801 (read as a word)
    """A copy of the model's folder that transformers 4 reads, for as long as it is used.

    Its config names the rotary base by itself, and the tokenizer's class is that of every tokenizer of one file.

    Args:
        source: The model's folder.
        target: A folder beside it, for the time being.
    """

    def __init__(self, source: Path, target: Path) -> None:
        self.source, self.target = source, target

    def __enter__(self) -> Path:
        shutil.rmtree(self.target, ignore_errors=True)
        self.target.mkdir(parents=True)
        for file in self.source.iterdir():
            (self.target / file.name).symlink_to(file.resolve())
        config = self._read("config.json")
        config["rope_theta"] = config.pop("rope_parameters")["rope_theta"]
        config["torch_dtype"] = config.pop("dtype")
        self._write("config.json", config)
        self._write("tokenizer_config.json", self._read("tokenizer_config.json") | {"tokenizer_class": FAST})
        return self.target

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.target, ignore_errors=True)

    def _read(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.source / name).read_text(encoding="utf-8"))
        return found

    def _write(self, name: str, content: Mapping[str, Any]) -> None:
        (self.target / name).unlink()
        (self.target / name).write_text(json.dumps(content), encoding="utf-8")


if __name__ == "__main__":
    globals()[sys.argv[3]](Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[4:])
