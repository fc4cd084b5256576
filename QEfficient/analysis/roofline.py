"""What a card's limits say of a graph: where it stands under the roofline, and how many cards it fills."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import fields

from QEfficient.analysis.cards import Card
from QEfficient.analysis.record import BucketCosts, CardFit, RooflinePoint, WeightBytes

USABLE = 30 / 32
"""Share of a SoC's memory that a program may fill: the vendor's library plans with 30 of 32 GB (``MAX_QPC_LIMIT``)."""


def roofline(costs: BucketCosts, card: Card) -> RooflinePoint:
    """Where one bucket stands on a card's roofline, in fp16.

    Across the memory bus go all weights that are read, inputs and outputs; activations too where more of them live at
    one time than the chip holds. Weights that stay on the chip from one run to the next would cost less than this says.
    """
    spills = costs.peak.fp16 > card.sram
    moved = costs.weight_bytes + costs.io_bytes + (costs.activation_bytes if spills else 0)
    intensity = costs.flops / max(moved, 1)
    attainable = min(card.fp16_tflops, intensity * card.bandwidth / 1e12)
    seconds = max(costs.flops / (card.fp16_tflops * 1e12), moved / card.bandwidth)
    return RooflinePoint(
        card=card.name,
        bucket=costs.bucket,
        flops=costs.flops,
        bytes=moved,
        intensity=intensity,
        ridge=card.ridge,
        attainable_tflops=attainable,
        bound="compute" if intensity >= card.ridge else "memory",
        milliseconds=seconds * 1e3,
        spills=spills,
    )


def fits(weights: WeightBytes, buckets: Sequence[BucketCosts], card: Card) -> tuple[CardFit, ...]:
    """How many SoCs and cards the graph needs at each precision, with the activations of its largest bucket."""
    beside = max((costs.peak.fp16 + costs.io_bytes for costs in buckets), default=0)
    beside_fp32 = max((costs.peak.fp32 + costs.io_bytes for costs in buckets), default=0)
    made = []
    for precision in (one.name for one in fields(WeightBytes) if one.name != "matmul_parameters"):
        total = getattr(weights, precision) + (beside_fp32 if precision == "fp32" else beside)
        socs = max(1, math.ceil(total / (card.memory * USABLE)))
        made.append(CardFit(card.name, precision, total, socs, math.ceil(socs / card.socs)))
    return tuple(made)
