"""The three cards as data, and what their limits say of a graph: the roofline, and how many cards it fills.

Source: Cloud AI SDK documentation, Architecture, table of the SKUs
(https://github.com/quic/cloud-ai-sdk-pages, docs/Getting-Started/Architecture/index.md); the number of AI cores of the
Standard card from its page on tuning. A program runs on one SoC unless it is partitioned, so every figure here is one
SoC's: an Ultra has four, each with a quarter of the card's memory, bandwidth and compute.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

from QEfficient.analysis.record import BucketCosts, CardFit, RooflinePoint, WeightBytes

USABLE = 30 / 32
"""Share of a SoC's memory that a program may fill: the vendor's library plans with 30 of 32 GB (``MAX_QPC_LIMIT``)."""


@dataclass(frozen=True, slots=True)
class Card:
    """One SoC of a card; sizes in bytes, rates a second.

    Attributes:
        name, title: For code and for people.
        socs: SoCs on a card.
        cores: AI cores (NSP) of a SoC.
        memory: DDR.
        bandwidth: Of the DDR, bytes a second.
        sram: On-chip memory.
        fp16_tflops, int8_tops: Peak rates.
    """

    name: str
    title: str
    socs: int
    cores: int
    memory: int
    bandwidth: float
    sram: int
    fp16_tflops: float
    int8_tops: float

    @property
    def ridge(self) -> float:
        """FLOPs a byte at which fp16 compute and memory take the same time."""
        return self.fp16_tflops * 1e12 / self.bandwidth


CARDS: tuple[Card, ...] = (
    Card("standard", "Cloud AI 100 Standard", 1, 14, 16 * 10**9, 137e9, 126 * 10**6, 110.0, 325.0),
    Card("pro", "Cloud AI 100 Pro", 1, 16, 32 * 10**9, 137e9, 144 * 10**6, 125.0, 375.0),
    Card("ultra", "Cloud AI 100 Ultra", 4, 16, 32 * 10**9, 137e9, 144 * 10**6, 72.5, 217.5),
)


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
