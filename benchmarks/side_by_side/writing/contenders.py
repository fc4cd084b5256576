"""Who writes text, in which form each wants the model, and how many bytes of weights a token reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.side_by_side.contenders import OURS, Contender, Form

_CONVERT = """
import sys
from pathlib import Path
from benchmarks.side_by_side.writing import converters
getattr(converters, sys.argv[3])(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[4:])
"""


def _form(environment: str, converter: str, *options: str) -> Form:
    return environment, _CONVERT, (converter, *options)


@dataclass(frozen=True, slots=True)
class Author(Contender):
    """One line of the table.

    Attributes:
        bits: Of the weights it computes with. Those with 32 are compared with transformers as exact ones.
        weights: The files of its form, by a pattern, that hold the weights.
        share: Of their bytes that a token reads: a library may make other weights of them on loading.
        less: Bytes of them that a token does not read: an embedding that is looked up only.
        together: Prompts that it is given at once where its answers are compared and no clock runs.
    """

    bits: int = 32
    weights: str = ""
    share: float = 1.0
    less: int = 0
    together: int = 1

    def read(self, folder: Path) -> int:
        """Bytes of weights that a token of one row reads, by the files of its form."""
        files = sorted(folder.glob(self.weights)) if folder.is_dir() else [folder]
        return int(self.share * (sum(file.stat().st_size for file in files) - self.less))


OURS_AS: Sequence[tuple[str, str, int]] = (
    ("onnxruntime", "fp32", 32),
    ("openvino", "fp32", 32),
    ("openvino", "bf16", 16),
    ("onnxruntime", "int8_weights", 8),
    ("onnxruntime", "int8_weights_int8", 8),
    ("openvino", "int8_weights", 8),
    ("openvino", "int8_weights_int8", 8),
    ("onnxruntime", "int4_weights", 4),
    ("onnxruntime", "int4_weights_int8", 4),
    ("openvino", "int4_weights", 4),
    ("openvino", "int4_weights_int8", 4),
)
"""Back end, ``compute``, bits of a weight: what of this library takes part."""

_WORDS = {"onnxruntime": "onnxruntime", "openvino": "OpenVINO"}
_EMBEDDING = 49_152 * 576 * 4  # bytes of it in float32

FORMS: Mapping[str, Form] = {
    **{f"{backend}-{compute}": _form(OURS, "qefficient", backend, compute) for backend, compute, _ in OURS_AS},
    "optimum-onnx": _form("onnx", "optimum_onnx"),
    "ctranslate2": _form("onnx", "ctranslate2"),
    **{f"optimum-intel-{bits}": _form("openvino", "optimum_intel", bits) for bits in ("32", "8", "4")},
    **{f"genai-{kind}": _form("onnxruntime-genai", "onnxruntime_genai", kind) for kind in ("fp32", "int8", "int4")},
    **{f"gguf-{kind}": _form("llama.cpp", "llama_cpp", kind) for kind in ("f32", "f16", "shipped")},
}

_INTEL, _GENAI = ("openvino", "writing.writers.optimum_intel"), ("openvino", "writing.writers.openvino_genai")
_ORT = ("onnxruntime-genai", "writing.writers.onnxruntime_genai")
_LLAMA = ("llama.cpp", "writing.writers.llama_cpp")
_CT2 = ("onnx", "writing.writers.ctranslate2")
_EXACT = {"exact": True}
_STEP = {"batched_tokens": 256}  # of all rows in one run
_PLACES = {"rows": 8, "positions": {"1": 1024, "8": 512}}
_BIN, _DATA, _GGUF = "openvino_model.bin", "model.onnx.data", "model.gguf"

AUTHORS: Sequence[Author] = (
    *(
        Author(
            f"QEfficient, {_WORDS[backend]} {compute}".removesuffix(" fp32").replace("_weights", ""),
            OURS,
            "writing.writers.qefficient",
            f"{backend}-{compute}",
            bits=bits,
            weights="*.data",
            share=0.5 if bits == 16 else 1.0,
            less=_EMBEDDING // 4 if bits == 4 else 0,  # in 8 bits, and once more in 4 as the head
            together=8,
        )
        for backend, compute, bits in OURS_AS
    ),
    Author(
        "transformers f32",
        "transformers",
        "writing.writers.transformers",
        None,
        {"dtype": "float32"},
        weights="*.safetensors",
    ),
    Author(
        "transformers bf16",
        "transformers",
        "writing.writers.transformers",
        None,
        {"dtype": "bfloat16"},
        bits=16,
        weights="*.safetensors",
        share=0.5,
    ),
    Author(
        "optimum-onnx f32",
        "onnx",
        "writing.writers.optimum_onnx",
        "optimum-onnx",
        weights="*.onnx*",
        less=_EMBEDDING,
    ),
    Author("optimum-intel f32 exact", *_INTEL, "optimum-intel-32", _EXACT, weights=_BIN),
    Author("optimum-intel f32 default", *_INTEL, "optimum-intel-32", bits=16, weights=_BIN, share=0.5),
    Author("optimum-intel int8", *_INTEL, "optimum-intel-8", bits=8, weights=_BIN),
    Author("optimum-intel int4", *_INTEL, "optimum-intel-4", bits=4, weights=_BIN),
    Author("ov-genai f32 exact", *_GENAI, "optimum-intel-32", _STEP | _EXACT, weights=_BIN),
    Author("ov-genai f32 default", *_GENAI, "optimum-intel-32", _STEP, bits=16, weights=_BIN, share=0.5, together=8),
    Author("ov-genai int8", *_GENAI, "optimum-intel-8", _STEP, bits=8, weights=_BIN, together=8),
    Author("ov-genai int4", *_GENAI, "optimum-intel-4", _STEP, bits=4, weights=_BIN, together=8),
    Author("ort-genai fp32", *_ORT, "genai-fp32", weights=_DATA),
    Author("ort-genai int8", *_ORT, "genai-int8", bits=8, weights=_DATA, less=_EMBEDDING),
    Author("ort-genai int4", *_ORT, "genai-int4", bits=4, weights=_DATA),
    Author("llama.cpp f32", *_LLAMA, "gguf-f32", _PLACES, weights=_GGUF),
    Author("llama.cpp f16", *_LLAMA, "gguf-f16", _PLACES, bits=16, weights=_GGUF),
    Author("llama.cpp Q4_1", *_LLAMA, "gguf-shipped", _PLACES, bits=4, weights=_GGUF),
    Author("ctranslate2 float32", *_CT2, "ctranslate2", {"compute": "float32"}, weights="model.bin"),
    Author("ctranslate2 int8", *_CT2, "ctranslate2", {"compute": "int8"}, bits=8, weights="model.bin", share=0.25),
)
REFERENCE = "transformers f32"
"""Whose tokens are the right ones, and whose seconds the others' are compared with."""


def needed(authors: Sequence[Author]) -> list[str]:
    """The environments to build, for them and their forms."""
    names = {one.environment for one in authors}
    names |= {FORMS[one.form][0] for one in authors if one.form is not None}
    return sorted(names - {OURS})


def sittings(authors: Sequence[Author]) -> list[list[Author]]:
    """Those with weights of 32 bits; the others, if any, with the reference."""
    wide = [one for one in authors if one.bits == 32]
    rest = [one for one in authors if one.bits < 32]
    return [wide, [*(one for one in wide if one.name == REFERENCE), *rest]] if rest else [wide]
