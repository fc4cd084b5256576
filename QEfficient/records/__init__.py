"""The few records that travel between the rooms. All are frozen; none holds a loaded graph or a tensor."""

from __future__ import annotations

import warnings

from QEfficient.records.caches import (
    BATCH_INDEX,
    INPUT_IDS,
    INTERNAL,
    NUM_LOGITS_TO_KEEP,
    POSITION_IDS,
    RETAINED,
    SOURCE,
    SOURCE_DIM,
    SOURCE_MASK,
    Caches,
    LayerCache,
)
from QEfficient.records.facts import CONFIG_KEY, DecoderFacts, FileFacts, ModelFacts
from QEfficient.records.options import CompileOptions, Target, Tuning
from QEfficient.records.programs import MODEL, GraphFacts, Manifest, Program, Shape
from QEfficient.records.rows import RowRules, Rows, TextFacts, TokenInput
from QEfficient.records.tensors import BATCH_DIM, LENGTH_DIM, ROW_SLOTS, Json, OnnxModel, TensorSpec

__all__ = [
    "INTERNAL",
    "RETAINED",
    "BATCH_DIM",
    "BATCH_INDEX",
    "CONFIG_KEY",
    "INPUT_IDS",
    "LENGTH_DIM",
    "MODEL",
    "NUM_LOGITS_TO_KEEP",
    "POSITION_IDS",
    "ROW_SLOTS",
    "SOURCE",
    "SOURCE_DIM",
    "SOURCE_MASK",
    "Caches",
    "CompileOptions",
    "DecoderFacts",
    "FileFacts",
    "GraphFacts",
    "Json",
    "LayerCache",
    "Manifest",
    "ModelFacts",
    "OnnxModel",
    "Program",
    "RowRules",
    "Rows",
    "Shape",
    "Target",
    "TensorSpec",
    "TextFacts",
    "TokenInput",
    "Tuning",
]


def __getattr__(name: str) -> type[Shape]:
    """The name under which :class:`Shape` was known, for one release."""
    if name != "Bucket":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    warnings.warn(
        "QEfficient.records.Bucket is now Shape; the old name goes with the next release (docs: Move to this version).",
        DeprecationWarning,
        stacklevel=2,
    )
    return Shape
