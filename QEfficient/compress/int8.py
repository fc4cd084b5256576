"""A graph in int8: calibrated on text, with the layers left out that would cost too much accuracy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

import onnx
from onnx_ir.passes import common

from QEfficient.backends.base import Session
from QEfficient.compress.calibrate import calibrate
from QEfficient.compress.graph import opened
from QEfficient.compress.layers import Layer, find_layers
from QEfficient.compress.quantise import quantise
from QEfficient.compress.search import Choice, search
from QEfficient.errors import UsageError, VerificationError
from QEfficient.numerics.check import Comparison
from QEfficient.numerics.verify import Limits, Reference, Sample, Verification, verify
from QEfficient.onnx_transforms import adopt, apply, describe
from QEfficient.onnx_transforms.remove_dead_code import RemoveDeadCode
from QEfficient.records import Json, OnnxModel

WHERE = "int8 on the host, as it is calibrated"
TRIED = 128  # texts that each trial of the search runs
SAFETY = 0.5
"""The search allows this share of the error that the limits allow: texts that it has not seen do worse."""

SPREAD = 4.0
"""The worst of many texts was off by four to six times their mean here: the mean must be this much better."""


@dataclass(frozen=True, slots=True)
class Int8:
    """A quantised graph.

    Attributes:
        model: The graph.
        layers: Its layers, and what of them is left out.
        choice: What the search found.
        texts: Texts that the ranges come from.
    """

    model: OnnxModel
    layers: tuple[Layer, ...]
    choice: Choice
    texts: int

    @property
    def share(self) -> float:
        """Share of the layers' arithmetic that is int8."""
        total = sum(layer.cost for layer in self.layers)
        return 1.0 - sum(self.layers[index].cost for index in self.choice.left_out) / total

    def table(self) -> dict[str, Json]:
        """For the manifest: what was left out, and why."""
        total, errors = sum(layer.cost for layer in self.layers), self.choice.errors
        result, order = self.choice.result, sorted(self.choice.left_out, key=lambda index: (-errors[index], index))
        left_out = [(self.layers[index], errors[index]) for index in order]
        return {
            "layers": len(self.layers),
            "share": self.share,
            "texts": self.texts,
            "trials": self.choice.trials,
            **{name: getattr(result, name) for name in ("min_cosine", "mean_cosine", "rank_agreement")},
            "left_out": [{"layer": one.name, "error": error, "share": one.cost / total} for one, error in left_out],
        }


def to_int8(
    model: OnnxModel,
    samples: Sequence[Sample],
    how: Comparison,
    limits: Limits,
    folder: Path,
    *,
    scratch: Path,
    progress: Callable[[int], None] | None = None,
) -> Int8:
    """Quantises a graph's matrix products.

    Args:
        model: The graph in fp32, known to be right: it is what the int8 graph is compared with.
        samples: Texts such as the model will be given.
        how: Which outputs, and how.
        limits: What the program must hold; the search aims at less than half of the error that they allow.
        folder: An empty folder for the graph.
        scratch: Another one for what is tried out.
        progress: Called after each text that is calibrated on, and after each trial.

    Raises:
        UsageError: There is no text, or nothing to quantise.
        VerificationError: No layer may be int8 within the limits.
    """
    if not samples:
        raise UsageError(
            "There is no text to calibrate int8 on.",
            got=f"{how.name!r}, without texts",
            allowed="a model that takes tokens, loaded by name from a repo whose tokenizer has a fast form",
            do='take "int8_weights", which needs no texts, or leave compute out',
        )
    plain = _prepared(model, scratch)
    layers = find_layers(onnx.load_model(plain.path, load_external_data=False).graph)
    if not layers:
        raise UsageError(
            "The graph has no matrix product with constant weights, so there is nothing to compute in int8.",
            got=repr(how.name),
            allowed="a graph with MatMul nodes",
            do="leave compute out",
        )
    aim = search_limits(limits)
    ranges = calibrate(plain, layers, samples, scratch, progress)
    whole = quantise(plain, layers, ranges, scratch)

    def session_of(graph: onnx.ModelProto) -> AbstractContextManager[Session]:
        return opened(graph, scratch / "trial.onnx", model.inputs, model.outputs)

    with session_of(whole.plain) as session:
        references: list[Reference] = [(sample, session.run(sample.inputs)) for sample in _spread(samples)]

    def trial(left_out: frozenset[int]) -> Verification:
        with session_of(whole.without(left_out)) as session:
            result = verify(references, session.run, how, aim, WHERE)
        if progress is not None:
            progress(1)
        return replace(result, reference="the graph in fp32")

    choice = search(layers, trial)
    if len(choice.left_out) == len(layers):
        alone = min(choice.errors.values())
        raise VerificationError(
            f"No layer of {how.name!r} can be int8 within the limits.",
            got=f"the best of {len(layers)} layers alone in int8: mean cosine {1 - alone:.6f}",
            allowed=f"mean cosine {aim.min_mean_cosine}, min cosine {aim.min_cosine} on the texts of the search",
            do="pass texts= such as the model will be given, or looser limits=, or leave compute out",
            verification=choice.result,
        )
    onnx.save_model(whole.without(choice.left_out), scratch / "chosen.onnx")
    made = apply(describe(scratch / "chosen.onnx"), folder, passes=(RemoveDeadCode,))
    return Int8(made, layers, choice, sum(len(sample.names) for sample in samples))


def search_limits(limits: Limits) -> Limits:
    """What the search aims at."""
    aim = limits.tightened(SAFETY)
    mean = None if aim.min_cosine is None else 1 - (1 - aim.min_cosine) / SPREAD
    means = [each for each in (mean, aim.min_mean_cosine) if each is not None]
    return replace(aim, min_mean_cosine=max(means, default=None))


def _prepared(model: OnnxModel, scratch: Path) -> OnnxModel:
    """The graph in the scratch folder, beside which its variants find its weights; without functions."""
    if model.functions:
        return apply(model, scratch, passes=(common.InlinePass,))
    return replace(model, path=adopt(model.path, scratch).path)


def _spread(samples: Sequence[Sample]) -> list[Sample]:
    """Batches of about :data:`TRIED` texts, evenly from all."""
    texts = sum(len(sample.names) for sample in samples)
    step = max(1, -(-texts // TRIED))
    return [*samples[::step]]
