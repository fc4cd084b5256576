"""A decoder's matrices in 4 bits, rounded for what they multiply: one tensor's second moments are held at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from QEfficient.backends.host import usable_cpus
from QEfficient.compress.compress_weights import not_finite, numbers_of
from QEfficient.compress.gptq import moments_of, rounded
from QEfficient.compress.group_weights import group_of
from QEfficient.compress.product_inputs import find_read, rows_read
from QEfficient.compress.rounded_weights import RoundedWeights
from QEfficient.compress.weight_readers import is_by_output, readers_of
from QEfficient.onnx_transforms import read
from QEfficient.records import OnnxModel


def round_weights(
    model: OnnxModel,
    bits: int,
    group: int,
    texts: Sequence[Sequence[int]],
    scratch: Path,
    progress: Callable[[int], None] | None = None,
) -> RoundedWeights:
    """Rounds the matrices of a graph's products for what they read in texts.

    Those are left out that several tensors are multiplied by, that read nothing but zeros, and those whose inputs can't
    be cut into groups.

    Args:
        model: A decoder's graph in fp32.
        bits: Of a code.
        group: The most inputs that share a step.
        texts: Ids.
        scratch: An empty folder, which has to be there as long as the result is read.
        progress: Called after each matrix, and after each text that was run.
    """
    runs, kept = scratch / "runs", scratch / "rounded"
    runs.mkdir()
    kept.mkdir()
    found, stored = RoundedWeights(kept, bits), read(model.path).graph.initializers
    fitting = [one for one in find_read(model.path) if group_of(one.width, group) is not None]
    for one, rows in rows_read(model, fitting, texts, runs, progress):
        moments, size = moments_of(rows), group_of(one.width, group)
        for name in one.weights:
            tensor = stored[name].const_value
            if moments is None or size is None or tensor is None or not_finite(tensor):
                continue
            matrix = numbers_of(tensor, turned=not is_by_output(readers_of(stored[name])[0]))
            found.keep(name, *rounded(np.ascontiguousarray(matrix), moments, bits, size, usable_cpus()))
            if progress is not None:
                progress(1)
    return found
