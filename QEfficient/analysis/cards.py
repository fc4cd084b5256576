"""The three cards as data.

Source: Cloud AI SDK documentation, Architecture, table of the SKUs
(https://github.com/quic/cloud-ai-sdk-pages, docs/Getting-Started/Architecture/index.md); the number of AI cores of the
Standard card from its page on tuning. A program runs on one SoC unless it is partitioned, so every figure here is one
SoC's: an Ultra has four, each with a quarter of the card's memory, bandwidth and compute.
"""

from __future__ import annotations

from dataclasses import dataclass


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
