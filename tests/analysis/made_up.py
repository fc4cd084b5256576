"""An analysis of a model that is not there, with every part of it filled: for tests of what draws it."""

from collections.abc import Mapping

from QEfficient.analysis.analysis import Analysis
from QEfficient.analysis.record import (
    BucketCosts,
    BucketLoad,
    CardFit,
    GraphAnalysis,
    Lengths,
    LintFinding,
    ModuleAnalysis,
    ModuleCosts,
    OperatorCosts,
    PeakMemory,
    Risk,
    RooflinePoint,
    SpeedPoint,
    WeightBytes,
)
from QEfficient.numerics.node_costs import NodeCost
from QEfficient.numerics.ranges import TensorRange
from QEfficient.numerics.verify import LIMITS, Verification, WorstRow
from QEfficient.records import Json, Shape

EVIL = "<script>alert('x')</script>&\"{{ 7*7 }}"
LAYERS = 6
LENGTHS = (32, 64, 128, 256, 512)
CARDS = {"standard": (110.0, 137.0), "pro": (125.0, 137.0), "ultra": (290.0, 548.0)}  # TFLOPS, GB/s


def modules(length: int) -> tuple[ModuleCosts, ...]:
    found = [ModuleCosts("embeddings.word_embeddings", "Embedding", 11_720_448, 0, 384 * length)]
    for layer in range(LAYERS):
        root = f"encoder.layer.{layer}"
        for name, width in (("query", 384), ("key", 384), ("value", 384)):
            found.append(ModuleCosts(f"{root}.attention.self.{name}", "Linear", 147_840, 2 * length * 384 * width, 0))
        found.append(ModuleCosts(f"{root}.attention.self", "Attention", 0, 4 * length * length * 384, length * length))
        found.append(ModuleCosts(f"{root}.intermediate.dense", "Linear", 591_360, 2 * length * 384 * 1536, 0))
        found.append(ModuleCosts(f"{root}.output.dense", "Linear", 590_208, 2 * length * 384 * 1536, 0))
    return tuple(found)


def costs(length: int, batch: int = 1) -> BucketCosts:
    parts = modules(length)
    flops, vector = sum(one.flops for one in parts), sum(one.vector_ops for one in parts)
    operators = (
        OperatorCosts("MatMul", 48, flops, 0, 9_000 * length),
        OperatorCosts("Add", 96, 0, vector // 2, 3_000 * length),
        OperatorCosts("Softmax", 6, 0, vector // 3, 900 * length),
        OperatorCosts("LayerNormalization", 13, 0, vector // 6, 700 * length),
        OperatorCosts("Reshape", 60, 0, 0, 0),
    )
    node = NodeCost("linear_1", "MatMul", "encoder.layer.0.attention.self.query", flops, 0, 1, 1, 1, (1, length, 384))
    peak = PeakMemory(40_000 * length, 20_000 * length, "linear_1", "encoder.layer.0.intermediate.dense")
    return BucketCosts(
        Shape(length, batch), flops, vector, 30_000 * length, 22_000_000, 24 * length, peak, operators, parts, (node,)
    )


def points(buckets: tuple[BucketCosts, ...]) -> tuple[RooflinePoint, ...]:
    found = []
    for card, (peak, bandwidth) in CARDS.items():
        for one in buckets:
            moved = one.weight_bytes + one.io_bytes
            intensity, ridge = one.flops / moved, peak * 1000 / bandwidth
            reached = min(peak, intensity * bandwidth / 1000)
            bound = "compute" if intensity > ridge else "memory"
            wait = one.flops / reached / 1e9
            found.append(
                RooflinePoint(card, one.bucket, one.flops, moved, intensity, ridge, reached, bound, wait, False)
            )
    return tuple(found)


def risk() -> Risk:
    found = []
    for layer in range(LAYERS):
        for step, op in enumerate(("MatMul", "Add", "Softmax", "MatMul", "LayerNormalization", "Gelu", "MatMul")):
            largest = {(3, 5): 81_000.0, (3, 6): float("inf"), (4, 5): 30_000.0}.get((layer, step), 1.7**step * 3)
            path = f"encoder.layer.{layer}.output"
            name, channel = f"node_{layer}_{step}", 7 if layer == 3 else None
            found.append(TensorRange(name, name, op, path, largest, 1e-7 * (step + 1), 0.0003, channel=channel))
    findings = {"node_3_5": "overflows in fp16", "node_3_6": "is Inf since node_3_5", "node_4_5": "comes near 65504"}
    return Risk(tuple(found), findings, rows=64, limit=16_376.0)


def predictions(buckets: tuple[BucketCosts, ...]) -> tuple[SpeedPoint, ...]:
    found = []
    for card, factor in (("standard", 1.0), ("ultra", 3.1)):
        for objective, scale in (("throughput", 1.0), ("latency", 0.3)):
            for one in buckets:
                rate = 900_000 / one.bucket.length * factor * scale
                wait = one.bucket.length / 12 * scale
                options = {"num_cores": 1, "instances": 14, "batch_size": 4, "ols": 2, "mos": None}
                reasons = ("no card of this kind was measured",) if card == "ultra" else ()
                reasons += ("no such length was measured",) if one.bucket.length == 256 else ()
                band, other = (rate * 0.85, rate * 1.2), (wait * 0.9, wait * 1.3)
                found.append(SpeedPoint(card, one.bucket, options, rate, wait, band, other, reasons, objective))
    return tuple(found)


def lengths() -> Lengths:
    histogram = {length: 1 + 400 // (1 + abs(length - 40)) for length in range(4, 512, 3)}
    loads, start = [], 0
    for limit in LENGTHS:
        inside = {length: rows for length, rows in histogram.items() if start < length <= limit}
        tokens = sum(length * rows for length, rows in inside.items())
        loads.append(BucketLoad(limit, sum(inside.values()), tokens, limit * sum(inside.values()) - tokens))
        start = limit
    total = sum(one.tokens + one.padding for one in loads)
    return Lengths(sum(histogram.values()), histogram, 3, tuple(loads), sum(one.tokens for one in loads) / total)


def verification(**changes: object) -> Mapping[str, Json]:
    found = Verification(
        where="the card's fp16, emulated",
        reference="HuggingFace float32",
        rows=64,
        vectors=64,
        not_finite=0,
        min_cosine=0.999982,
        mean_cosine=0.999997,
        max_difference=0.004,
        rank_agreement=0.998,
        label_agreement=None,
        max_logit_error=None,
        histogram=(0, 0, 0, 0, 9, 31, 20, 4),
        limits=LIMITS["fp16"],
        worst=(WorstRow("text 7: a row about <b>markup</b>", 0.999982, 0.004), WorstRow("text 2", 0.99999, 0.003)),
    )
    return {"verify": "on", **found.to_json(), **changes}


def graph(length: int = 512) -> GraphAnalysis:
    weights = WeightBytes(90_852_864, 45_426_432, 31_000_000, 34_800_000, 10_600_000)
    return GraphAnalysis(
        digest="3f" * 32,
        opset=18,
        inputs={"input_ids": "int64[batch_size, seq_len]", "attention_mask": "int64[batch_size, seq_len]"},
        outputs={"output": "float32[batch_size, 384]"},
        nodes=223,
        functions={"layer": 6},
        parameters=22_713_216,
        modules=modules(length),
        weights=weights,
    )


def small(**changes: object) -> Analysis:
    """Only what an analysis always has."""
    return Analysis("org/tiny", graph(), (costs(32),), **changes)  # type: ignore[arg-type]


def full(name: str = "org/tiny-encoder") -> Analysis:
    """With every part."""
    buckets = tuple(costs(length) for length in LENGTHS)
    finding = LintFinding(
        "data-dependent-shape",
        "error",
        "NonZero makes a shape that depends on the values.",
        "Compile without it.",
        "contract 3.2",
        ("node_7",),
        "NonZero",
        ("encoder.layer.0",),
    )
    note = LintFinding(
        "transpose", "note", "24 transposes move activations.", "Nothing.", "measured", ("t_1", "t_2", "t_3", "t_4")
    )
    return Analysis(
        name=name,
        graph=graph(),
        buckets=buckets,
        lint=(finding, note),
        roofline=points(buckets),
        fits=tuple(CardFit(card, form, 60_000_000, 1, 1) for card in CARDS for form in ("fp16", "mxfp6")),
        model=ModuleAnalysis(
            "BertModel", "float32", 22_713_216, 90_852_864, {}, modules(512), Shape(512), 1_000_000_000
        ),
        lengths=lengths(),
        risk=risk(),
        predictions=predictions(buckets),
        verification=verification(),
        versions={"QEfficient": "0.1.0", "torch": "2.13.0", "onnxruntime": "1.32.0"},
        created="2026-11-24T12:00:00Z",
    )
