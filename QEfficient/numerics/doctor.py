"""The fp16 doctor: which numbers of a graph leave fp16's range, and the smallest cure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from QEfficient.errors import NumericsError, UsageError
from QEfficient.numerics.bench import Bench
from QEfficient.numerics.diagnosis import Diagnosis
from QEfficient.numerics.emulate import Precision, open_emulated
from QEfficient.numerics.findings import findings
from QEfficient.numerics.outline import NodeInfo, inlined, outline
from QEfficient.numerics.ranges import TensorRange, ranges
from QEfficient.numerics.rewrites import rewrite
from QEfficient.numerics.samples import bucket_of
from QEfficient.numerics.search import Trials, share, smallest
from QEfficient.numerics.verify import Criterion, Limits, Verification
from QEfficient.records import OnnxModel

LIMITS = Limits(min_cosine=0.9995, max_difference=0.02, min_rank_agreement=0.95, min_label_agreement=0.98)
"""What a cure must reach: stricter than what ``verify`` refuses at, since other texts do a little worse."""

MARGIN = 0.5
_ATTEMPTS = 4


def diagnose(
    model: OnnxModel,
    criterion: Criterion,
    *,
    margin: float = MARGIN,
    flops: Mapping[str, float] | None = None,
    rewrite_to: Path | None = None,
    progress: Callable[[int], None] | None = None,
) -> Diagnosis:
    """Measures every tensor, and finds the smallest set of nodes that has to stay in fp32.

    Args:
        model: The graph.
        criterion: What the cure must reach under emulation. Its samples are like those that the model will be given,
            the longest rows among them.
        margin: Share of fp16's largest number from which a value counts as near it.
        flops: First output name → FLOPs: for the share that stays in fp32, and to prefer the cheaper node.
        rewrite_to: An empty folder: powers of two are folded into weights first, where that is exact, and the graph is
            written there; what is left is for the node-precision file.
        progress: Called after each trial.

    Raises:
        NumericsError: The graph in fp32 does not meet the limits.
        UsageError: There is no sample, the margin is none, or the graph has functions, whose nodes have no names.
    """
    _check(model, criterion, margin)
    case = _Case(criterion, dict(flops or {}), progress)
    samples = [sample for sample, _ in criterion.references]
    nodes, found = outline(inlined(model)), ranges(model, samples)
    before = case.emulate(model, frozenset())
    cured, rewrites = (model, ()) if rewrite_to is None else rewrite(model, found, rewrite_to, margin)
    if rewrites:
        left, met = outline(inlined(cured)), ranges(cured, samples)
        chosen, after = case.cure(cured, left, met, case.emulate(cured, frozenset()))
    else:
        left = nodes
        chosen, after = case.cure(cured, nodes, found, before)
    return Diagnosis(
        findings=findings(nodes, found, margin, frozenset() if rewrites else chosen),
        fp32_nodes=_in_order(chosen, left),
        fp32_share=share(chosen, case.flops),
        before=before,
        after=after,
        rewrites=rewrites,
        ranges=found,
        margin=margin,
        onnx_path=cured.path if rewrites else None,
    )


@dataclass(frozen=True, slots=True)
class _Case:
    """What does not change on the way from a graph to its cure."""

    criterion: Criterion
    flops: Mapping[str, float]
    progress: Callable[[int], None] | None

    def emulate(self, model: OnnxModel, fp32: frozenset[str]) -> Verification:
        """How well the graph does on a card with these nodes in fp32."""
        bucket = bucket_of(model.inputs, [sample for sample, _ in self.criterion.references])
        with open_emulated(model, Precision(fp32_nodes=fp32), buckets=(bucket,)) as session:
            return self.criterion.check(session.run, "the card's fp16, emulated")

    def cure(
        self, model: OnnxModel, nodes: Sequence[NodeInfo], found: Sequence[TensorRange], before: Verification
    ) -> tuple[frozenset[str], Verification]:
        """The smallest set of nodes in fp32, and how well the graph does with it."""
        if before.passed:
            return frozenset(), before
        bench, goal = Bench(model), self.criterion
        for _ in range(_ATTEMPTS):
            chosen = smallest(Trials(bench, goal, self.progress), nodes, found, self.flops)
            after = self.emulate(model, chosen)
            if after.passed:
                return chosen, after
            # ranks fail, or the last bit of a sum, in which the two ways to round differ
            goal = replace(goal, limits=goal.limits.tightened(0.5))
        raise NumericsError(
            f"No set of nodes in fp32 was found in {_ATTEMPTS} attempts that meets the limits.",
            got="; ".join(after.failures),
            allowed="limits that rows one by one lead to",
            do="set a looser limit on what fails, or a stricter min_cosine",
        )


def _in_order(chosen: frozenset[str], nodes: Sequence[NodeInfo]) -> tuple[str, ...]:
    """In graph order; nodes of graphs inside a node last."""
    main = tuple(node.name for node in nodes if node.name in chosen)
    return (*main, *sorted(chosen - {*main}))


def _check(model: OnnxModel, criterion: Criterion, margin: float) -> None:
    refuse_functions(model)
    if not criterion.references:
        raise UsageError(
            "There is nothing to diagnose with.",
            got="no samples",
            allowed="at least one batch of inputs with the outputs that they should have",
            do="pass texts",
        )
    if not 0 < margin <= 1:
        raise UsageError(
            "The margin is no share of fp16's largest number.",
            got=f"margin={margin!r}",
            allowed="a number above 0, up to 1",
            do="pass margin=0.5 to hear of what is past half of 65504",
        )


def refuse_functions(model: OnnxModel) -> None:
    """Raises where nodes stand inside functions, so that they have no names of their own."""
    if model.functions:
        raise UsageError(
            "The graph has functions: a node inside one stands for a node of every layer, so no file can name it.",
            got="use_onnx_subfunctions=True",
            allowed="a graph without functions",
            do="leave use_onnx_subfunctions out",
        )
