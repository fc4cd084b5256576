"""What an analysis finds, as frozen records. They hold numbers and names only: a report draws them, never computes.

FLOPs are what a matrix unit does: 2·m·n·k of each matrix product and convolution, as ``torch.utils.flop_counter``
counts. Everything else that is computed is ``vector_ops``. A node's name is the name of its first output, as in a
node-precision file. Module paths are those of the torch module that a node was exported from, ``""`` where unknown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from QEfficient.numerics.formats import MAX_FP16
from QEfficient.numerics.node_costs import NodeCost
from QEfficient.numerics.ranges import TensorRange
from QEfficient.records import Json, Shape


@dataclass(frozen=True, slots=True)
class ModuleCosts:
    """What one torch module costs by itself, its children apart.

    Attributes:
        path: Its path, ``"encoder.layer.0.attention.self.query"``; ``""``: the model itself, or not known.
        kind: Its class, ``"Linear"``; ``""`` where only the graph is known.
        parameters: Parameters that it holds; one that several modules share counts in the first of them only.
        flops: Of one run at the bucket in question; 0 where no bucket was asked for.
        vector_ops: Likewise; 0 for a torch module, which nobody counts them for.
    """

    path: str
    kind: str = ""
    parameters: int = 0
    flops: int = 0
    vector_ops: int = 0


@dataclass(frozen=True, slots=True)
class ModuleAnalysis:
    """The model before transformation: HuggingFace's own module.

    Attributes:
        model_class: Its class, ``"BertModel"``.
        dtype: Of most of its parameters, ``"float32"``.
        parameters: Number of parameters; tied ones count once.
        bytes: What they take in their own dtypes.
        tied: Names of parameters that are another parameter's tensor → that parameter's name.
        modules: Every module that holds parameters or computes, in the module's own order.
        bucket: The shape that ``flops`` belongs to; ``None``: the module was not run.
        flops: FLOPs of one run at ``bucket``, as ``torch.utils.flop_counter`` counts them.
    """

    model_class: str
    dtype: str
    parameters: int
    bytes: int
    tied: Mapping[str, str] = field(default_factory=dict)
    modules: tuple[ModuleCosts, ...] = ()
    bucket: Shape | None = None
    flops: int = 0


@dataclass(frozen=True, slots=True)
class WeightBytes:
    """Bytes of all weights in each form that a card can store them in.

    Attributes:
        fp32, fp16: Every floating-point weight in this type.
        mxfp6: MatMul weights as MXFP6 (6 bits, and 8 bits for each 32 of them), the others fp16.
        int8: Weights of matrix products and convolutions as int8, the others fp16.
        matmul_parameters: How many parameters MXFP6 applies to.
    """

    fp32: int
    fp16: int
    mxfp6: int
    int8: int
    matmul_parameters: int = 0


@dataclass(frozen=True, slots=True)
class GraphAnalysis:
    """The model after transformation: the ONNX graph that is compiled.

    Attributes:
        digest: Of the graph and its weights.
        opset: Version of the standard operator set.
        inputs, outputs: Name → shape as text, ``"int64[batch_size, seq_len]"``.
        nodes: Nodes of the graph, those of functions and subgraphs once each.
        functions: Function name → number of calls.
        parameters: Elements of all floating-point weights; a weight that is used twice counts once.
        modules: Module path → its weights, in graph order. FLOPs stand in :class:`BucketCosts`.
        weights: Bytes at each precision.
    """

    digest: str
    opset: int
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    nodes: int
    functions: Mapping[str, int]
    parameters: int
    modules: tuple[ModuleCosts, ...]
    weights: WeightBytes


@dataclass(frozen=True, slots=True)
class OperatorCosts:
    """All nodes of one operator at a bucket: how many there are, and what they cost together."""

    op: str
    count: int
    flops: int
    vector_ops: int
    bytes: int


@dataclass(frozen=True, slots=True)
class PeakMemory:
    """Activations that live at the same time, when nodes run one after the other in graph order.

    Attributes:
        fp32: Bytes, floating-point tensors in fp32.
        fp16: Bytes, floating-point tensors in fp16.
        node: Where the fp32 peak is: the name of the node that runs then.
        module: Its module path.
    """

    fp32: int
    fp16: int
    node: str = ""
    module: str = ""


@dataclass(frozen=True, slots=True)
class BucketCosts:
    """What one run of the graph at one bucket costs.

    Attributes:
        bucket: The shape.
        flops, vector_ops: Sums over all nodes.
        activation_bytes: Activations read and written by all nodes, in fp16.
        weight_bytes: Weights read, in fp16.
        io_bytes: The graph's inputs and outputs, in their own types.
        peak: Peak activation memory.
        operators: By FLOPs, then by vector operations, largest first.
        modules: FLOPs and vector operations by module path, in graph order.
        nodes: Every node that runs, in the order of running.
        unknown: Names of nodes whose costs can't be told, with the reason; their FLOPs are in no sum.
    """

    bucket: Shape
    flops: int
    vector_ops: int
    activation_bytes: int
    weight_bytes: int
    io_bytes: int
    peak: PeakMemory
    operators: tuple[OperatorCosts, ...]
    modules: tuple[ModuleCosts, ...]
    nodes: tuple[NodeCost, ...]
    unknown: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LintFinding:
    """Something in the graph that is known to trouble the compiler or to run slowly on the card.

    Attributes:
        rule: Name of the rule, ``"data-dependent-shape"``.
        level: ``"error"`` (the compiler will refuse it), ``"warning"`` or ``"note"``.
        text: What was found, in a sentence.
        do: What to do about it.
        source: Where the rule comes from.
        nodes: Names of the nodes that it is about, in graph order; empty where it is about the whole graph.
        op: Their operator, ``""`` for the whole graph.
        modules: Their module paths, each once.
    """

    rule: str
    level: str
    text: str
    do: str
    source: str
    nodes: tuple[str, ...] = ()
    op: str = ""
    modules: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RooflinePoint:
    """One bucket on the roofline of one SoC of a card, all weights and activations fp16.

    Attributes:
        card: Name of the card, ``"standard"``.
        bucket: The shape.
        flops, bytes: Of one run; the bytes are those that cross the SoC's memory bus.
        intensity: FLOPs a byte.
        ridge: Intensity at which the card's compute and memory limits meet.
        attainable_tflops: min(peak, intensity × bandwidth): a limit, not a prediction.
        bound: ``"compute"`` or ``"memory"``.
        milliseconds: Least time of one run at the attainable rate.
        spills: True when the activations do not fit on the chip, so that they cross the bus too.
    """

    card: str
    bucket: Shape
    flops: int
    bytes: int
    intensity: float
    ridge: float
    attainable_tflops: float
    bound: str
    milliseconds: float
    spills: bool


@dataclass(frozen=True, slots=True)
class CardFit:
    """How many SoCs of a card the weights at a precision need, with the peak activations of the largest bucket.

    Attributes:
        card: Name of the card.
        precision: A field of :class:`WeightBytes`.
        bytes: Weights, activations, inputs and outputs.
        socs: How many SoCs hold that, each filled as far as is advised.
        cards: How many cards that is.
    """

    card: str
    precision: str
    bytes: int
    socs: int
    cards: int


@dataclass(frozen=True, slots=True)
class BucketLoad:
    """The rows of given texts that one bucket takes.

    Attributes:
        length: Length of the bucket, in tokens.
        rows: How many rows.
        tokens: Their real tokens.
        padding: Tokens that are added to fill the bucket.
    """

    length: int
    rows: int
    tokens: int
    padding: int


@dataclass(frozen=True, slots=True)
class Lengths:
    """How given texts fill the buckets.

    Attributes:
        rows: Number of texts.
        histogram: Length in tokens → number of rows, ascending. Longer texts are shortened first.
        shortened: Rows longer than the longest bucket.
        buckets: One entry a bucket, ascending.
        efficiency: Real tokens ÷ tokens computed, 0…1.
    """

    rows: int
    histogram: Mapping[int, int]
    shortened: int
    buckets: tuple[BucketLoad, ...]
    efficiency: float


@dataclass(frozen=True, slots=True)
class Risk:
    """fp16 risk: ranges in graph order, and what the doctor says of them.

    Attributes:
        ranges: One entry a measured node.
        findings: Node name → what is wrong with it in fp16.
        rows: Rows of calibration text that were measured.
        limit: Largest number that is safe.
    """

    ranges: tuple[TensorRange, ...]
    findings: Mapping[str, str] = field(default_factory=dict)
    rows: int = 0
    limit: float = MAX_FP16


@dataclass(frozen=True, slots=True)
class SpeedPoint:
    """Predicted speed on a card at one bucket and one set of options; bands hold 80 % of cases.

    Attributes:
        card: Name of the card.
        bucket: The shape.
        options: ``num_cores``, ``instances``, ``batch_size``, ``set_size``, ``ols``, ``mos``, ``multicast_weights``.
        samples_per_second, latency_ms: The prediction.
        samples_per_second_band, latency_ms_band: (low, high).
        extrapolated: Why this lies outside of what was measured; empty: it does not.
        objective: What the options were chosen for; ``""`` where they were given.
    """

    card: str
    bucket: Shape
    options: Mapping[str, Json]
    samples_per_second: float
    latency_ms: float
    samples_per_second_band: tuple[float, float]
    latency_ms_band: tuple[float, float]
    extrapolated: tuple[str, ...] = ()
    objective: str = ""
