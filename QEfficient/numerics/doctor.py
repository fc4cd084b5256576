"""The fp16 doctor: which numbers of a graph leave fp16's range, and the smallest cure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from QEfficient.errors import UsageError
from QEfficient.numerics.bench import Bench
from QEfficient.numerics.check import Comparison
from QEfficient.numerics.diagnosis import Diagnosis, Finding, Rewrite
from QEfficient.numerics.emulate import Precision, open_emulated
from QEfficient.numerics.findings import findings
from QEfficient.numerics.first_bad import first_bad
from QEfficient.numerics.outline import bucket_of, inlined, outline
from QEfficient.numerics.ranges import Range, ranges
from QEfficient.numerics.search import Trials, share, smallest
from QEfficient.numerics.verify import Limits, Reference, Verification, verify
from QEfficient.records import OnnxModel

__all__ = ["LIMITS", "Diagnosis", "Finding", "Range", "Rewrite", "diagnose", "first_bad", "ranges"]

LIMITS = Limits(min_cosine=0.9995, max_difference=0.02, min_rank_agreement=0.95, min_label_agreement=0.98)
"""What a cure must reach: stricter than what ``verify`` refuses at, since other texts do a little worse."""

MARGIN = 0.5
FP16 = Precision()
_ATTEMPTS = 3


def diagnose(
    model: OnnxModel,
    references: Sequence[Reference],
    how: Comparison,
    *,
    precision: Precision = FP16,
    limits: Limits = LIMITS,
    margin: float = MARGIN,
    flops: Mapping[str, float] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Diagnosis:
    """Measures every tensor, and finds the smallest set of nodes that has to stay in fp32.

    Args:
        model: The graph.
        references: Samples of what the model will be given, the longest rows among them, with what it should answer.
        how: Which outputs, and how they are compared.
        precision: What the other nodes compute in.
        limits: What the cure must reach on every sample, under emulation.
        margin: Share of fp16's largest number from which a value counts as near it.
        flops: First output name → FLOPs: for the share that stays in fp32, and to prefer the cheaper node.
        progress: Called after each trial.

    Raises:
        NumericsError: The graph in fp32 does not meet the limits.
        UsageError: There is no sample, or the margin is none.
    """
    _check(references, margin)
    plain = replace(precision, fp32_nodes=frozenset())
    costs = dict(flops or {})
    nodes = outline(inlined(model))
    found = ranges(model, [sample for sample, _ in references])
    before = _emulate(model, references, how, plain, limits)
    chosen, after = frozenset[str](), before
    bench = None if before.passed else Bench(model, plain)
    goal = limits
    for _ in range(_ATTEMPTS):
        if bench is None or after.passed:
            break
        chosen = smallest(Trials(bench, references, how, goal, progress), nodes, found, costs)
        after = _emulate(model, references, how, replace(plain, fp32_nodes=chosen), limits)
        goal = _stricter(goal)  # the two ways to round differ in the last bit of a sum
    return Diagnosis(
        findings=findings(nodes, found, margin, chosen),
        fp32_nodes=tuple(node.name for node in nodes if node.name in chosen),
        fp32_share=share(chosen, costs),
        before=before,
        after=after,
        ranges=found,
        margin=margin,
    )


def _check(references: Sequence[Reference], margin: float) -> None:
    if not references:
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


def _emulate(
    model: OnnxModel, references: Sequence[Reference], how: Comparison, precision: Precision, limits: Limits
) -> Verification:
    bucket = max((bucket_of(sample.inputs) for sample, _ in references), key=lambda each: each.length)
    with open_emulated(model, precision, buckets=(bucket,)) as session:
        return verify(references, session.run, how, limits, "the card's fp16, emulated")


def _stricter(limits: Limits) -> Limits:
    """A fifth less of what is allowed."""

    def nearer(value: float | None) -> float | None:
        return None if value is None else 1 - 0.8 * (1 - value)

    return Limits(
        min_cosine=nearer(limits.min_cosine),
        max_difference=None if limits.max_difference is None else 0.8 * limits.max_difference,
        min_rank_agreement=nearer(limits.min_rank_agreement),
        min_label_agreement=nearer(limits.min_label_agreement),
        max_logit_error=None if limits.max_logit_error is None else 0.8 * limits.max_logit_error,
    )
