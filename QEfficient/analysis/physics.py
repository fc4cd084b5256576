"""Where the time of a run goes: matrix products, vector work, weights from memory, steps, and the way to the host.

Eleven constants, such as the share of the peak rate that is reached, are fitted to the published measurements; the
formula is the same for every network. Rates and sizes of the card: see :mod:`QEfficient.analysis.cards`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from QEfficient.analysis.cards import CARDS, Card
from QEfficient.analysis.run import Run

Vector = NDArray[np.float64]
Size = TypeVar("Size", int, Vector)

STANDARD = CARDS[0]
FP16, FP32 = 2, 4  # bytes
LABELS = 9  # of a token-classification head: its outputs are small whatever their number
TILE = 128  # what the matrix units are filled in: other widths take as long as the next multiple
GATED = frozenset("jina-bert-v2 modernbert nomic_bert eurobert gte gemma gemma2 gemma3_text".split())
"""Types whose feed-forward block has a third matrix, which gates the first, where a run does not say it."""
DISENTANGLED = frozenset({"deberta", "deberta-v2"})
"""Types whose attention scores also compare words with positions and positions with words."""
BIASED = frozenset({"mpnet", "jina-bert-v2"})
"""Types that add a bias for the distance of two words to every attention score."""
TANH_GELU = frozenset({"gelu_new", "gelu_fast", "gelu_accurate", "gelu_pytorch_tanh", "gelu_python_tanh"})
"""Activations that are GELU written out with tanh: eight operators in the graph where a card knows GELU as one."""
USUAL = {"albert": "gelu_new"}
"""Type → its activation where a run does not say it; GELU for all others."""
KNOWN_TASKS = frozenset(
    """default feature-extraction sentence-similarity fill-mask question-answering text-classification
    token-classification""".split()
)


class Workload(NamedTuple):
    """What one inference (a batch) of each run has to compute and move; every field has one entry a run.

    ``matmul``: FLOPs of the layers' matrix products. ``attention``: of its scores and sums. ``head``: of a vocabulary
    head.
    ``scores``: elements of all attention maps. ``elements``: elements that activations and norms touch. ``tanh``: of
    these, elements of an activation that is written out.
    ``weights``: bytes of all layers' weights, those of a shared layer once a use, as the compiler lays them out.
    ``output``: bytes that go to the host. ``disentangled``, ``biased``: 1 where the type is so, else 0.
    """

    matmul: Vector
    attention: Vector
    head: Vector
    scores: Vector
    elements: Vector
    weights: Vector
    output: Vector
    tanh: Vector
    disentangled: Vector
    biased: Vector
    layers: Vector
    cores: Vector
    instances: Vector
    set_size: Vector
    batch: Vector


@dataclass(frozen=True, slots=True)
class Constants:
    """What is fitted.

    Attributes:
        efficiency: Share of the peak fp16 rate that matrix products reach.
        score_cost, element_cost: Seconds ÷ 10¹⁰ of one core for each element of an attention map, and for each
            element of the other vector work.
        tanh_cost: How often ``element_cost`` comes on top where GELU is written out; before any measurement seven
            times, the number of further operators.
        position_cost: How much more attention costs when it is disentangled, as a share.
        bias_cost: How much more ``score_cost`` is with a bias for the distance, as a share.
        step: Microseconds a layer for each core of an instance: cores wait for each other.
        bandwidth: GB/s at which weights arrive. Above the memory's own rate, since a part of them stays on the chip.
        fixed: Microseconds of an inference that no size changes.
        link: GB/s to the host, of all instances together.
        copy: GB/s at which the host takes one inference's outputs.
    """

    efficiency: float = 0.8
    score_cost: float = 2.0
    element_cost: float = 2.0
    tanh_cost: float = 7.0
    position_cost: float = 3.0
    bias_cost: float = 1.0
    step: float = 3.0
    bandwidth: float = 150.0
    fixed: float = 100.0
    link: float = 11.0
    copy: float = 3.0


def outputs(run: Run) -> int:
    """Bytes that one sample sends to the host, in fp32. A task that is not known counts as the encoder alone."""
    values = {
        "fill-mask": run.vocab_size * run.seq_len,
        "question-answering": 2 * run.seq_len,
        "token-classification": LABELS * run.seq_len,
        "text-classification": LABELS,
    }
    return FP32 * values.get(run.task, run.hidden_size * run.seq_len)


def activation(run: Run) -> str:
    """As the run says, or as is usual for its type."""
    return run.hidden_act or USUAL.get(run.model_type, "gelu")


def written_out(run: Run) -> bool:
    """Whether its activation is several operators."""
    return activation(run) in TANH_GELU


def work(runs: Sequence[Run]) -> Workload:
    """The work of each run, counted from its sizes."""

    def each(values: Sequence[float]) -> Vector:
        return np.array(values, dtype=np.float64)

    layers, width, inner = (each([getattr(r, name) for r in runs]) for name in _SIZES)
    active = each([r.layer_inner or r.intermediate_size for r in runs])
    batch, length = each([r.batch_size for r in runs]), each([r.seq_len for r in runs])
    heads, words = each([r.attention_heads for r in runs]), each([r.vocab_size for r in runs])
    fill_mask = each([r.task == "fill-mask" for r in runs])
    gated = each([r.model_type in GATED if r.gated is None else r.gated for r in runs])
    plain, tiled = layer_weights(width, inner, gated), layer_weights(_tiles(width), _tiles(inner), gated)
    said = each([r.layer_weights or 0 for r in runs])
    parameters = layers * np.where(said > 0, said, plain) * tiled / plain
    samples = batch * length
    return Workload(
        matmul=2 * parameters * samples,
        attention=4 * layers * _tiles(width) * length * samples,
        head=fill_mask * 2 * (width**2 + width * words) * samples,
        scores=layers * heads * length * samples,
        elements=layers * ((1 + gated) * _tiles(active) + 4 * _tiles(width)) * samples,
        tanh=layers * each([written_out(r) for r in runs]) * _tiles(active) * samples,
        weights=FP16 * parameters,
        output=batch * each([outputs(r) for r in runs]),
        disentangled=each([r.model_type in DISENTANGLED for r in runs]),
        biased=each([r.model_type in BIASED for r in runs]),
        layers=layers,
        cores=each([r.num_cores for r in runs]),
        instances=each([r.instances for r in runs]),
        set_size=each([r.set_size for r in runs]),
        batch=batch,
    )


def layer_weights(width: Size, inner: Size, gated: Size) -> Size:
    """Weights of one layer's matrices: four of attention, and two or three of the feed-forward block."""
    return 4 * width**2 + (2 + gated) * width * inner


_SIZES = ("layers", "hidden_size", "intermediate_size")


def _tiles(sizes: Vector) -> Vector:
    """Sizes as the matrix units see them: whole tiles."""
    return TILE * np.ceil(sizes / TILE)


def log_rate(constants: Constants, todo: Workload, card: Card = STANDARD) -> Vector:
    """Natural logarithm of the samples a second of each run.

    An instance computes while the memory feeds it, so the slower of the two counts; vector work and steps add to that.
    Three limits bound the inferences a second: those in flight over the time that one takes, the instances over the
    time that one computes, and the link to the host. Close to two limits the rate is below both (a power mean).
    """
    rate = todo.cores * card.fp16_tflops * 1e12 / card.cores  # peak of an instance, FLOPs a second
    clock = (card.fp16_tflops / card.cores) / (STANDARD.fp16_tflops / STANDARD.cores)
    position = 1 + constants.position_cost * todo.disentangled
    compute = todo.matmul / (rate * constants.efficiency)
    feed = todo.weights * todo.instances / (constants.bandwidth * 1e9 * card.bandwidth / STANDARD.bandwidth)
    scores = constants.score_cost * todo.scores * (position + constants.bias_cost * todo.biased)
    elements = constants.element_cost * (todo.elements + constants.tanh_cost * todo.tanh)
    busy = np.maximum(compute, feed) + (scores + elements) * 1e-10 / (todo.cores * clock)
    busy += (todo.attention * position + todo.head) / (rate * constants.efficiency)
    busy += constants.step * 1e-6 * todo.layers * todo.cores + constants.fixed * 1e-6
    copy = todo.output / (constants.copy * 1e9)
    limits = (
        todo.instances * todo.set_size / (busy + copy),
        todo.instances / busy,
        constants.link * 1e9 * lanes(card) / todo.output,
    )
    return np.log(todo.batch) - np.log(sum(limit**-8.0 for limit in limits)) / 8


def lanes(card: Card) -> float:
    """Lanes to the host of one SoC over the Standard card's eight: an Ultra's sixteen serve four SoCs."""
    return (16 / card.socs / 8) if card.socs > 1 else 1.0


def fit(runs: Sequence[Run], rates: Vector, start: Constants | None = None) -> Constants:
    """The constants that explain measured rates best: damped Gauss–Newton steps on their logarithms.

    Errors far above five per cent count by their size, not by its square, so that single odd rows pull little. A weak
    pull towards ``start`` decides where the measurements do not.
    """
    todo, wanted = work(runs), np.log(rates)
    first = np.log(np.array(astuple(start or Constants())))

    def errors(point: Vector) -> Vector:
        error = log_rate(Constants(*np.exp(point)), todo) - wanted
        return np.append(error, 0.01 * (point - first))

    def loss(error: Vector) -> float:
        return float(np.sum(np.sqrt(1 + (error / 0.05) ** 2) - 1))

    point, damping = first, 1e-2
    best = errors(point)
    for _ in range(200):
        slopes = np.stack([(errors(point + 1e-5 * unit) - best) / 1e-5 for unit in np.eye(len(point))], axis=1)
        weights = 1 / np.sqrt(1 + (best / 0.05) ** 2)
        normal = slopes.T @ (weights[:, None] * slopes)
        normal += damping * np.diag(np.diag(normal) + 1e-9)
        step = np.clip(np.linalg.solve(normal, -slopes.T @ (weights * best)), -1, 1)
        found = errors(point + step)
        if loss(found) < loss(best):
            gain = loss(best) - loss(found)
            point, best, damping = point + step, found, damping / 3
            if gain < 1e-6:
                break
        else:
            damping *= 4
            if damping > 1e9:
                break
    return Constants(*(float(value) for value in np.exp(point)))
