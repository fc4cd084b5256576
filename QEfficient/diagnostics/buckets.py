"""The buckets that serve a caller's texts best: ``compile(seq_len="auto", texts=…)``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

from QEfficient import arguments
from QEfficient.backends import registry
from QEfficient.build.buckets import AUTO, most_buckets
from QEfficient.build.request import CompileRequest
from QEfficient.build.subject import ModelSubject
from QEfficient.build.tokenizer import text_lengths
from QEfficient.diagnostics.recommend import columns, require_analysis
from QEfficient.errors import UsageError
from QEfficient.records import Shape
from QEfficient.runtime.suggest import Cost, suggest_buckets

BATCHES = (1, 2, 4, 8, 16)
"""Batch sizes to choose from, where the caller names none."""

RUN_POSITIONS, BATCH_POSITIONS = 16, 512
"""What a run costs beside its positions on the host, in positions, and how many of them a batch of several rows has.

A six-layer MiniLM on two CPUs computes one row of 10 tokens in the time of some 25 positions of a large batch, and is
no faster a position beyond 512.
"""

VERIFIED = 256
"""The most of the texts that are also verified on: some of every length, the shortest and the longest among them."""


def buckets_for_texts(request: CompileRequest, subject: ModelSubject) -> CompileRequest:
    """The request with the buckets in which its texts cost least: ``compile(seq_len="auto")``.

    Each bucket has its own number of rows, whichever costs least, unless there is one for all.

    Raises:
        UsageError: The model has no tokenizer.
    """
    assert request.most_buckets is not None  # it is what asks for this
    limits = subject.recipe.reach
    longest = limits.longest(request.text)
    lengths = text_lengths(request.texts, subject.tokenizer())
    rows = [min(longest, max(limits.shortest, length)) for length in lengths]
    sizes = BATCHES if request.batch is None else (request.batch,)
    on_card = card_cost(subject, request.target.cores) if request.backend.name == "qaic" else None
    cost = on_card or (host_cost if request.batch is None else run_cost)
    found = suggest_buckets(rows, request.most_buckets, cost=cost, batch_sizes=sizes, longest=longest)
    texts = _spread(request.texts, rows) if subject.recipe.verify == "on" else ()
    return replace(request, most_buckets=None, buckets=found, texts=texts)


@dataclass(frozen=True, slots=True)
class SuggestedBuckets:
    """The buckets in which a caller's texts cost least.

    Attributes:
        buckets: Ascending.
        texts: Some of every length, :data:`VERIFIED` at most: what ``compile`` verifies on.
    """

    buckets: tuple[Shape, ...]
    texts: tuple[str, ...]

    @property
    def compile_options(self) -> dict[str, list[int] | list[str]]:
        """Keywords for ``compile``; with ``verify="off"`` leave out ``texts``."""
        lengths, rows = [one.length for one in self.buckets], [one.batch for one in self.buckets]
        return {"seq_len": lengths, "batch_size": rows, "texts": list(self.texts)}


def suggested(
    subject: ModelSubject, texts: object, most: object, batch: object, cores: object, backend: str | None
) -> SuggestedBuckets:
    """What ``compile(seq_len="auto")`` finds for texts; ``None`` is left out.

    Raises:
        InputError: What is no list of strings.
        OptionError: No texts, or a number out of range.
        UsageError: The model has no tokenizer.
    """
    given = tuple(arguments.strings("texts", texts))
    chosen, reason = registry.choose(backend, None)
    asked = CompileRequest(
        chosen,
        reason,
        chosen.compute[0],
        1,
        subject.text,
        given,
        cores=None if cores is None else arguments.positive("num_cores", cores, "cores"),
        batch=None if batch is None else arguments.positive("batch_size", batch, "rows"),
        most_buckets=most_buckets(AUTO, given, most),
    )
    found = buckets_for_texts(asked, subject)
    return SuggestedBuckets(found.buckets, found.texts)


def run_cost(length: int, batch: int) -> float:
    """What a run costs on the host, in positions."""
    return float(length * batch + RUN_POSITIONS)


def host_cost(length: int, batch: int) -> float:
    """As :func:`run_cost`, where the batch is to be chosen; a large one of long rows has no use there."""
    return float("inf") if batch > 1 and length * batch > BATCH_POSITIONS else run_cost(length, batch)


def card_cost(subject: ModelSubject, cores: int) -> Cost | None:
    """Predicted seconds of a run on a card, ``None`` where nothing can be predicted.

    Args:
        subject: Which model.
        cores: AI cores of an instance; the card holds as many instances as fit.
    """
    require_analysis('compile(seq_len="auto") for a card')
    from QEfficient.analysis.cards import CARDS
    from QEfficient.analysis.predictor import predict

    card = next((card for card in CARDS if card.cores >= cores), None)
    if card is None:
        return None
    name, shared = card.name, {"num_cores": cores, "instances": card.cores // cores, "set_size": 1}
    try:
        row = columns(subject) | shared | {"multicast_weights": False}
    except UsageError:
        return None

    @cache
    def cost(length: int, batch: int) -> float:
        return batch / float(predict(row | {"seq_len": length, "batch_size": batch}, name).samples_per_second)

    return cost


def _spread(texts: Sequence[str], lengths: Sequence[int]) -> tuple[str, ...]:
    """At most :data:`VERIFIED` texts, evenly over the order of their lengths."""
    if len(texts) <= VERIFIED:
        return tuple(texts)
    order = sorted(range(len(texts)), key=lambda text: lengths[text])
    step = (len(order) - 1) / (VERIFIED - 1)
    return tuple(texts[order[round(place * step)]] for place in range(VERIFIED))
