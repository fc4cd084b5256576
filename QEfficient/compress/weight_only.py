"""Weights in 8 or 4 bits that the graph turns back into fp32 where they are read; its arithmetic stays as it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from onnx_ir.passes import common

from QEfficient.compress.compress_weights import GROUP, SMALLEST, CompressWeights, StoredWeight
from QEfficient.compress.group_weights import GroupWeights
from QEfficient.compress.round_weights import round_weights
from QEfficient.compress.rounding_texts import RoundingTexts
from QEfficient.errors import UsageError
from QEfficient.onnx_transforms import apply
from QEfficient.onnx_transforms.apply import PassFactory
from QEfficient.onnx_transforms.remove_dead_code import RemoveDeadCode
from QEfficient.records import Json, OnnxModel


@dataclass(frozen=True, slots=True)
class WeightOnly:
    """A graph whose weights have few bits.

    Attributes:
        model: The graph.
        bits: What was asked for.
        weights: Each weight with two dims or more and :data:`SMALLEST` numbers or more.
        rest: Bytes of the others, which stay in fp32: vectors, and what is small.
        group: The most inputs that share a step; ``None``: all of an output's do.
        rounding: How products' matrices were rounded, where that was for what they read: on which texts, and how many
            of the matrices.
    """

    model: OnnxModel
    bits: int
    weights: tuple[StoredWeight, ...]
    rest: int
    group: int | None = None
    rounding: Mapping[str, Json] = field(default_factory=dict)

    def table(self) -> dict[str, Json]:
        """For the manifest: bytes, and what stays in fp32, and why.

        ``bytes_turned_back`` is what onnxruntime holds, which turns the matrices of products back when it loads them.
        """
        before = sum(one.before for one in self.weights) + self.rest
        small = [one for one in self.weights if not one.kept]
        kept = sorted((one for one in self.weights if one.kept), key=lambda one: (-one.before, one.name))
        return {
            "bits": self.bits,
            "group": self.group,
            "weights": {str(bits): sum(one.bits == bits for one in small) for bits in (8, 4)},
            "share": sum(one.before for one in small) / before,
            "bytes_before": before,
            "bytes_after": sum(one.after for one in self.weights) + self.rest,
            "bytes_turned_back": sum(one.held for one in self.weights) + self.rest,
            "left_out": [{"weight": one.name, "bytes": one.before, "reason": one.kept} for one in kept],
        } | ({"rounding": dict(self.rounding)} if self.rounding else {})


def to_weight_only(model: OnnxModel, bits: int, folder: Path) -> WeightOnly:
    """Stores a graph's weights in few bits. One weight is in memory at a time.

    A product's matrix has a step for each output; in 4 bits, for each :data:`GROUP` inputs of each output. A table, as
    that of the words, has 8 bits in any case and a step for each row, also where a product reads it too.
    What other operators read stays in fp32: kernels of convolutions, and the stacked matrices of a mixture's experts.

    Args:
        model: The graph in fp32.
        bits: 8 or 4.
        folder: An empty folder for the graph.

    Raises:
        UsageError: The graph has no such weight.
    """
    inline = (common.InlinePass,) if model.functions else ()
    return _written(model, CompressWeights(bits), folder, inline)


def to_grouped(
    model: OnnxModel,
    bits: int,
    folder: Path,
    *,
    group: int = GROUP,
    texts: RoundingTexts | None = None,
    scratch: Path | None = None,
    progress: Callable[[int], None] | None = None,
) -> WeightOnly:
    """As :func:`to_weight_only`, of a decoder: a product's matrix has a step for each group of inputs of each output.

    In 4 bits a table is stored in 8, for looking rows up, and once more in 4 where a product reads it too.

    Args:
        model: The graph in fp32.
        bits: 8 or 4.
        folder: An empty folder for the graph.
        group: The most inputs that share a step, one of ``group_weights.GROUPS``.
        texts: What matrices are rounded for; left out, each number is rounded to the nearest code.
        scratch: Another empty folder; needed with texts.
        progress: Called after each text that was run, and after each matrix that was rounded for them.

    Raises:
        UsageError: The graph has no weight that can be stored so.
    """
    if texts is None or scratch is None:
        return _written(model, GroupWeights(bits, group), folder)
    rounded = round_weights(model, bits, group, texts.rows, scratch, progress)
    made = _written(model, GroupWeights(bits, group, rounded), folder)
    how: dict[str, Json] = {"method": "gptq", "matrices": len(rounded), **texts.to_json()}
    return replace(made, rounding=how)


def _written(
    model: OnnxModel, compress: CompressWeights | GroupWeights, folder: Path, before: Sequence[PassFactory] = ()
) -> WeightOnly:
    made = apply(model, folder, passes=(*before, lambda: compress, RemoveDeadCode))
    if all(one.kept for one in compress.found):
        raise UsageError(
            "The graph has no weights that can be stored in fewer bits.",
            got=f"{len(compress.found)} weights of {SMALLEST} numbers or more, none of them a product's or a table's",
            allowed="a graph with matrix products or tables whose weights are constants in float32",
            do="leave compute out",
        )
    most = compress.group if isinstance(compress, GroupWeights) else GROUP
    group = most if compress.bits == 4 else None
    return WeightOnly(made, compress.bits, tuple(compress.found), compress.rest, group)
