"""fp16 risk: the range of every tensor over calibration text, as the doctor measures it."""

from __future__ import annotations

from collections.abc import Sequence

from QEfficient.analysis.record import Risk
from QEfficient.numerics.doctor import MARGIN
from QEfficient.numerics.findings import findings
from QEfficient.numerics.formats import MAX_FP16
from QEfficient.numerics.outline import inlined, outline
from QEfficient.numerics.ranges import ranges
from QEfficient.numerics.verify import Sample
from QEfficient.records import OnnxModel


def fp16_risk(model: OnnxModel, samples: Sequence[Sample]) -> Risk:
    """Runs the samples in fp32 on the host and measures every value; looks for no cure, which ``doctor`` does.

    Args:
        model: The graph.
        samples: Calibration rows.
    """
    found = ranges(model, samples)
    told: dict[str, str] = {}
    for one in findings(outline(inlined(model)), found, MARGIN, ()):
        told[one.node] = f"{told[one.node]}; {one.text}" if one.node in told else one.text
    return Risk(
        # weights are no activation; what is wrong with one is told of the node that reads it
        ranges=tuple(one for one in found if one.node),
        findings=told,
        rows=sum(len(sample.names) for sample in samples),
        limit=MARGIN * MAX_FP16,
    )
