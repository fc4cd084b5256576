"""The cards' figures, rooflines, and how many cards a model fills."""

from __future__ import annotations

from dataclasses import replace

import pytest

from QEfficient.analysis.cards import CARDS
from QEfficient.analysis.record import BucketCosts, PeakMemory, WeightBytes
from QEfficient.analysis.roofline import fits, roofline
from QEfficient.records import Shape

STANDARD, PRO, ULTRA = CARDS
MB, GB = 10**6, 10**9


def costs(**changes: object) -> BucketCosts:
    made = BucketCosts(
        bucket=Shape(128),
        flops=10**9,
        vector_ops=0,
        activation_bytes=50 * MB,
        weight_bytes=20 * MB,
        io_bytes=1 * MB,
        peak=PeakMemory(4 * MB, 2 * MB),
        operators=(),
        modules=(),
        nodes=(),
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def test_the_documented_figures() -> None:
    """One SoC each; a whole Ultra has four times that: 290 TFLOPS, 548 GB/s, 128 GB, 576 MB."""
    assert [(card.name, card.socs, card.cores) for card in CARDS] == [
        ("standard", 1, 14),
        ("pro", 1, 16),
        ("ultra", 4, 16),
    ]
    whole = [ULTRA.socs * value for value in (ULTRA.fp16_tflops, ULTRA.int8_tops, ULTRA.memory, ULTRA.sram)]
    assert whole == [290, 870, 128 * GB, 576 * MB]
    assert ULTRA.socs * ULTRA.bandwidth == 548 * GB
    assert STANDARD.ridge == pytest.approx(110e12 / 137e9)


def test_a_small_batch_waits_for_memory() -> None:
    point = roofline(costs(), STANDARD)
    assert (point.bytes, point.bound, point.spills) == (21 * MB, "memory", False)
    assert point.attainable_tflops == pytest.approx(point.intensity * 0.137)
    assert point.milliseconds == pytest.approx(21 * MB / 137e9 * 1e3)


def test_many_flops_a_byte_are_bound_by_compute() -> None:
    point = roofline(costs(flops=10**12), STANDARD)
    assert (point.bound, point.attainable_tflops) == ("compute", 110.0)
    assert point.milliseconds == pytest.approx(1e12 / 110e12 * 1e3)


def test_activations_that_do_not_fit_on_the_chip_cross_the_bus() -> None:
    large = costs(peak=PeakMemory(0, 130 * MB))
    assert roofline(large, STANDARD).spills and roofline(large, STANDARD).bytes == 71 * MB
    assert not roofline(large, PRO).spills


def test_on_how_many_cards_it_fits() -> None:
    """70 GB in fp16 with half a GB beside it: SoCs of 16 or 32 GB, filled to 30 of 32."""
    weights = WeightBytes(fp32=140 * GB, fp16=70 * GB, mxfp6=28 * GB, int8=36 * GB)
    beside = [costs(), costs(peak=PeakMemory(GB, GB // 2), io_bytes=0)]
    found = {fit.precision: (fit.socs, fit.cards) for fit in fits(weights, beside, STANDARD)}
    assert found == {"fp32": (10, 10), "fp16": (5, 5), "mxfp6": (2, 2), "int8": (3, 3)}
    assert {fit.precision: (fit.socs, fit.cards) for fit in fits(weights, beside, ULTRA)}["fp16"] == (3, 1)
    assert {fit.precision: fit.bytes for fit in fits(weights, beside, PRO)}["mxfp6"] == 28 * GB + GB // 2
