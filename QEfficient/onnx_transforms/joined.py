"""The graph that onnxruntime runs, where one of fewer nodes is faster than the plain one.

A program's ``model.onnx`` has standard operators only, and functions of them: it is what the card, the doctor and
people read. Where there is attention to join, or a decoder's caches to read less of, a second graph stands beside it,
which reads the same weights.
"""

from __future__ import annotations

import re
from pathlib import Path

import onnx_ir as ir

from QEfficient.onnx_transforms.apply import run
from QEfficient.onnx_transforms.cached_attention import JoinCachedAttention
from QEfficient.onnx_transforms.graph_file import read, write_beside
from QEfficient.onnx_transforms.join_attention import JoinAttention
from QEfficient.onnx_transforms.join_norms import JoinNorms
from QEfficient.onnx_transforms.move_biases import MoveBiases
from QEfficient.onnx_transforms.narrow_products import NarrowProducts
from QEfficient.onnx_transforms.reads_on_demand import ReadsOnDemand
from QEfficient.onnx_transforms.remove_dead_code import RemoveDeadCode
from QEfficient.onnx_transforms.standard_operators import InlineFunctions
from QEfficient.onnx_transforms.transposed_weights import TransposedWeights
from QEfficient.onnx_transforms.used_positions import UsedPositions
from QEfficient.onnx_transforms.used_source import UsedSource

_ASKED = frozenset({"input_ids", "position_ids", "batch_index", "num_logits_to_keep"})
_CACHE = re.compile(r"past_(key|value)\.\d+")

LARGEST = 2**24
"""Most bytes of a graph file that may be there twice. Without weights it has a few hundred kB."""


def write_joined(source: Path, target: Path, level: int | None = None) -> bool:
    """Writes what :class:`MoveBiases` and :class:`JoinAttention` make of a graph, or a decoder's passes, beside it.

    Both graphs read the same external data; only moved biases are the second one's own. A graph that holds its weights
    itself is left alone, since they would be there twice; so is one whose data has the second graph's name.

    Args:
        source: The graph.
        target: Where the second one goes.
        level: How products by weights of few bits are computed, a level of ``narrow_products``; ``None``: such weights
            are turned back.

    Returns:
        Whether there was anything to join; else nothing is written.
    """
    if target.exists() or source.stat().st_size > LARGEST:
        return False
    model = read(source)
    decodes = _is_asked_by_tokens_alone(model) and run(model, [JoinCachedAttention()])
    run(model, [RemoveDeadCode()])
    decodes |= run(model, [UsedPositions(), UsedSource()])
    if decodes:
        run(model, [JoinNorms(), InlineFunctions(), TransposedWeights()])
    if level is not None:
        decodes |= run(model, [NarrowProducts(level)])
    run(model, [MoveBiases()])
    if not run(model, [JoinAttention(), ReadsOnDemand()]) and not decodes:
        return False
    run(model, [RemoveDeadCode()])
    write_beside(model, source, target)
    return True


def _is_asked_by_tokens_alone(model: ir.Model) -> bool:
    """Whether a graph's inputs are tokens and caches: a call of it can become several, of some of its rows each."""
    return all(str(value.name) in _ASKED or _CACHE.fullmatch(str(value.name)) for value in model.graph.inputs)
