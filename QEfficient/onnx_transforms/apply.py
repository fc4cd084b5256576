"""Runs the graph passes, from file to file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import onnx
import onnx_ir as ir

from QEfficient.errors import QEfficientError, TransformError
from QEfficient.onnx_transforms.clamp_to_fp16 import ClampToFp16
from QEfficient.onnx_transforms.clean_metadata import CleanMetadata
from QEfficient.onnx_transforms.constant_reshapes import ConstantReshapes
from QEfficient.onnx_transforms.fold_constants import FoldConstants
from QEfficient.onnx_transforms.graph_file import describe, read
from QEfficient.onnx_transforms.known_gelu import KnownGelu
from QEfficient.onnx_transforms.layer_functions import LayerFunctions
from QEfficient.onnx_transforms.only_first_token import OnlyFirstToken
from QEfficient.onnx_transforms.raise_guards import RaiseGuards
from QEfficient.onnx_transforms.remove_dead_code import RemoveDeadCode
from QEfficient.onnx_transforms.remove_identities import RemoveIdentities
from QEfficient.onnx_transforms.scale_squares import ScaleSquares
from QEfficient.onnx_transforms.share_weights import ShareWeights
from QEfficient.onnx_transforms.store_weights import StoreWeights
from QEfficient.records import OnnxModel

PassFactory = Callable[[], ir.passes.PassBase]

DEFAULT: tuple[PassFactory, ...] = (
    FoldConstants,  # leaves identities behind
    RemoveIdentities,
    RemoveDeadCode,  # what is gone by here is not read below
    ClampToFp16,
    RaiseGuards,
    ScaleSquares,
    KnownGelu,
    OnlyFirstToken,
    ConstantReshapes,
    ShareWeights,
    RemoveDeadCode,  # bounds that were raised leave the old ones behind, and sizes what computed them
    CleanMetadata,  # last: NaN errors name the torch module, and folding writes notes of its own
)
BY_LAYERS: tuple[PassFactory, ...] = (*DEFAULT, LayerFunctions)
"""With a function a layer, which ``use_onnx_subfunctions`` asks for."""


def apply(model: OnnxModel, folder: Path, *, passes: Sequence[PassFactory] = DEFAULT) -> OnnxModel:
    """Runs ``passes`` over a graph, then writes ``folder/model.onnx`` with its weights in ``model.onnx.data``.

    Weights are never all in memory: they are read in pieces and copied one by one. Equal graphs give equal bytes.

    Args:
        model: The graph to read. Its files stay as they are.
        folder: Where to write; made if needed. It must not hold a ``model.onnx`` or its data yet.
        passes: What makes each pass, in the order in which they run. The weights are stored in any case.

    Returns:
        The record of the new graph, with its own inputs, outputs and digest.

    Raises:
        TransformError: A pass failed; names it and those that ran before.
        NumericsError: A weight holds NaN.
        CorruptArtefactError: The graph can't be read, or its external data is missing, short or outside its folder.
        OSError: The disk is full, or the folder can't be written; in a work folder of the cache that is a CacheError.
    """
    return finish(read(model.path), folder, passes=passes)


def finish(graph: ir.Model, folder: Path, *, passes: Sequence[PassFactory] = DEFAULT) -> OnnxModel:
    """As :func:`apply`, for a graph in memory. It is changed in place, and its weights are in the files afterwards."""
    taken = [path.name for path in folder.glob("model*.onnx*")]
    if taken:
        raise TransformError(
            "The graph passes can't write: the folder holds a graph already.",
            got=f"{folder}: {', '.join(sorted(taken))}",
            allowed="a folder without model.onnx and its data",
            do="pass an empty folder",
        )
    folder.mkdir(parents=True, exist_ok=True)
    run(graph, (*(make() for make in passes), StoreWeights(folder)))
    target = folder / "model.onnx"
    onnx.save_model(ir.to_proto(graph), target)
    return describe(target)


def run(graph: ir.Model, passes: Sequence[ir.passes.PassBase]) -> bool:
    """Runs ``passes`` in order on a graph in memory, in place.

    Returns:
        Whether any of them modified it.

    Raises:
        TransformError: As :func:`apply`.
    """
    modified = False
    for index, each in enumerate(passes):
        try:
            modified |= each(graph).modified
        except (QEfficientError, OSError):  # these say already what is wrong
            raise
        except Exception as error:  # a pass may fail in any way; the name is what the reader needs
            name, *before = (type(one).__name__ for one in (each, *passes[:index]))
            raise TransformError(
                f"Graph pass {name} failed: {error}",
                got=f"passes that ran before: {', '.join(before) or 'none'}",
                allowed="a graph that ONNX allows and this pass knows",
                do="check the graph with onnx.checker.check_model, or leave this pass out",
            ) from error
    return modified
