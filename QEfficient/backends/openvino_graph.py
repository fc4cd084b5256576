"""A graph in OpenVINO: read from ONNX, with what is to stay in fp32 marked, and compiled.

A plain ``import openvino`` sends a usage event to its maker, over the package openvino-telemetry, which it brings
along. Imported here it does not: OpenVINO finds no such package, and takes the stand-in that it has for this case.
"""

from __future__ import annotations

import os
import shutil
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from QEfficient import fork
from QEfficient.backends.host import GROUPED, ROUNDED, WEIGHT_ONLY
from QEfficient.backends.refusals import corrupt_graph, refused
from QEfficient.cache import Cache, check_inside
from QEfficient.errors import BackendUnavailableError, CorruptArtefactError
from QEfficient.records import Shape, TensorSpec

INSTALL = "pip install 'QEfficient[openvino]'"
BF16, INT8 = "bf16", "int8"

# In bf16 only products are computed in bf16. What adds up what they gave stays in fp32, else each layer rounds the sum
# of all before it again: with MiniLM the least cosine of 1,000 texts is 0.99995 so, and 0.99988 with everything in
# bf16, at 0.97 of its speed. Activations that OpenVINO joins with a product are part of it.
FP32_OPERATORS = frozenset(
    "Add Subtract Multiply Divide Power Sqrt MVN ReduceSum ReduceMean ReduceMax ReduceL2 Softmax LogSoftmax".split()
)
ROUNDED_TOGETHER = 16
"""Of weights in few bits: numbers of a row that OpenVINO rounds to int8 with one step, to multiply them with such
weights as they are. Only a CPU with VNNI does; another turns the weights back into fp32, and is not faster for them.
MiniLM's least cosine in 8 bits and its speed ÷ fp32's: 0.99830 and 0.92 without, 0.99726 and 1.35 with 16, the fewest
that OpenVINO takes, 0.99661 and 1.65 with 32, 0.99584 with 64, 0.99380 with 128. The limit is 0.997."""

_MARK = "DisablePrecisionConversion"
# The mark is no number and no text, so it can't be made in Python; it can be read.
_MARKED = f"""<net name="marked" version="11"><layers>
<layer id="0" name="x" type="Parameter" version="opset1"><data shape="1" element_type="f32"/>
<output><port id="0" precision="FP32"><dim>1</dim></port></output></layer>
<layer id="1" name="marked" type="Abs" version="opset1">
<rt_info><attribute name="{_MARK}" version="0" value="dynamic:f16"/></rt_info>
<input><port id="0" precision="FP32"><dim>1</dim></port></input>
<output><port id="1" precision="FP32"><dim>1</dim></port></output></layer>
<layer id="2" name="y" type="Result" version="opset1">
<input><port id="0" precision="FP32"><dim>1</dim></port></input></layer></layers>
<edges><edge from-layer="0" from-port="0" to-layer="1" to-port="0"/>
<edge from-layer="1" from-port="1" to-layer="2" to-port="0"/></edges></net>"""

_PASSED_ON = ("Convert", "Reshape", "Unsqueeze", "Squeeze", "Transpose")  # what leaves ids as they are
_importing = threading.Lock()


def openvino() -> ModuleType:
    """The module, which sends nothing.

    Raises:
        BackendUnavailableError: It is not installed, or does not load on this machine.
    """
    telemetry = "openvino_telemetry"
    with _importing:
        hide = "openvino" not in sys.modules and telemetry not in sys.modules
        if hide:
            sys.modules[telemetry] = None  # type: ignore[assignment]  # an import of it raises ImportError
        try:
            import openvino  # imported on use: 0.1 s
        except ImportError as error:
            raise BackendUnavailableError(
                "openvino can't be imported.", got=str(error), allowed="openvino 2026.4 or later", do=INSTALL
            ) from error
        finally:
            if hide:
                del sys.modules[telemetry]
    return openvino  # type: ignore[no-any-return, unused-ignore]


def version() -> str:
    """The version of openvino."""
    return str(openvino().__version__)


@cache
def _core() -> Any:
    return openvino().Core()


def _before_fork() -> None:
    """Lets OpenVINO forget its idle threads, which it would use again in the child, where they are no more.

    It keeps those of compiled graphs that are gone for the next one, whoever made them, until one of its plugins goes.
    """
    if _core.cache_info().currsize:
        openvino().Core().get_property("CPU", "FULL_DEVICE_NAME")


def _after_fork() -> None:
    """In a child: the core's threads stayed behind, and it must not be destroyed there either."""
    if _core.cache_info().currsize:
        fork.leak(_core())
        _core.cache_clear()


os.register_at_fork(before=_before_fork)
fork.in_child(_after_fork)


def missing(compute: str) -> BackendUnavailableError | None:
    """Why this machine can't compute in a precision, as the error to raise; ``None`` where it can."""
    if compute != BF16:
        return None
    found = _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if "BF16" in found:
        return None
    return BackendUnavailableError(
        "This CPU has no bf16 arithmetic, so bf16 would be slower than fp32 here.",
        got=f"{_core().get_property('CPU', 'FULL_DEVICE_NAME')}: {', '.join(found)}",
        allowed="a CPU with avx512_bf16 or amx_bf16 (see the flags in /proc/cpuinfo)",
        do="leave compute out for fp32, or run it on another machine",
    )


def read(path: Path, operators: Sequence[Any] = ()) -> Any:
    """The graph as an ``openvino.Model``, its weights still on disk.

    OpenVINO refuses external data whose location, or a link, leads out of the graph's folder, before it reads it.

    Args:
        path: The graph.
        operators: What makes OpenVINO's of operators that it does not read itself, as its ``ConversionExtension``.

    Raises:
        CorruptArtefactError: A file is missing, short, altered or outside the folder.
        DeviceError: OpenVINO does not know an operator of it.
    """
    ov = openvino()
    # by name: left to guess, each of its readers tries its luck, and prints what it thinks of the file
    onnx = ov.frontend.FrontEndManager().load_by_framework("onnx")
    for operator in operators:
        onnx.add_extension(operator)
    with _without_links(path) as plain:
        try:
            return _with_whole_batches(ov.Model(onnx.convert(onnx.load(str(plain)))))
        except (ov.frontend.OpConversionFailure, ov.frontend.NotImplementedFailure) as error:
            raise refused(f"openvino {version()}", "load", error) from error
        except Exception as error:  # its exceptions have no common class below Exception
            raise corrupt_graph(path, error) from error


def _with_whole_batches(model: Any) -> Any:
    """Repeats what a product multiplies by several matrices, as a mixture's tokens by each expert's weights.

    OpenVINO's own kernel for weights takes as many matrices on both sides, and fails on what ONNX lets it repeat.
    """
    for node in model.get_ops():
        if node.get_type_name() != "MatMul":
            continue
        left, right = (node.input(side).get_partial_shape() for side in (0, 1))
        weights = node.input_value(1).get_node()
        while weights.get_type_name() in ("Transpose", "Convert"):
            weights = weights.input_value(0).get_node()
        if weights.get_type_name() != "Constant" or left.rank.is_dynamic or right.rank.get_length() < 3:
            continue
        if left.rank.get_length() < right.rank.get_length():
            matrices = [size.get_length() for size in list(right)[:-2]] + [1, 1]
            repeated = openvino().opset15.broadcast(
                node.input_value(0), np.array(matrices, np.int64), broadcast_spec="BIDIRECTIONAL"
            )
            node.input(0).replace_source_output(repeated.output(0))
    return model


@contextmanager
def _without_links(path: Path) -> Iterator[Path]:
    """A path of the graph where its folder's links are plain files, until OpenVINO has opened them.

    A snapshot of a hub's cache is links into a folder of blobs, which OpenVINO takes to be outside.
    """
    files = [file for file in sorted(path.parent.rglob("*")) if file.is_file()]
    if not any(file.is_symlink() for file in files):
        yield path
        return
    with Cache().work_folder() as folder:
        for file in files:
            name = file.relative_to(path.parent).as_posix()
            source = os.path.realpath(check_inside(path.parent, name))
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(source, folder / name)
            except OSError:  # another disk, or one without hard links
                shutil.copyfile(source, folder / name)
        yield folder / path.relative_to(path.parent)


def tables(model: Any) -> dict[str, int]:
    """Inputs whose numbers are rows of a table: input name → rows of the smallest such table."""
    found: dict[str, int] = {}
    for parameter in model.get_parameters():
        name = parameter.output(0).get_any_name()
        outputs = [parameter.output(0)]
        while outputs:
            for port in outputs.pop().get_target_inputs():
                node = port.get_node()
                if node.get_type_name() in _PASSED_ON and port.get_index() == 0:
                    outputs.append(node.output(0))
                elif node.get_type_name() == "Gather" and port.get_index() == 1:
                    axis = int(node.input_value(2).get_node().data.item())
                    size = node.input_value(0).get_partial_shape()[axis]
                    if size.is_static:
                        found[name] = min(size.get_length(), found.get(name, size.get_length()))
    return found


def check_longest(model: Any, path: Path, inputs: Sequence[TensorSpec], shapes: Sequence[Shape]) -> None:
    """Refuses a graph that does not take the longest row: a run does not check shapes, and reads what is not there.

    Raises:
        CorruptArtefactError: Such a row has more positions than the graph's tables, or something else does not fit.
    """
    ov = openvino()
    longest = Shape(batch=-1, sizes=Shape.largest(shapes).sizes)  # of any batch
    partial = {spec.name: ov.PartialShape(list(spec.at(longest))) for spec in inputs}
    try:
        model.clone().reshape(partial)
    except RuntimeError as error:
        raise CorruptArtefactError(
            f"The graph {path.name} does not take a row of {longest.length}, the program's longest.",
            got=str(error),
            allowed="buckets that fit the graph",
            do="compile the model again, with a shorter seq_len if the graph is your own",
        ) from error


def compiled(model: Any, compute: str, *, streams: int, threads: int, keeps_state: bool = False) -> Any:
    """An ``openvino.CompiledModel``.

    Args:
        model: As :func:`read` gives it; in bf16 its nodes are marked here.
        compute: ``"bf16"``; ``"int8"``: what the graph does not hold in int8 is computed in bf16 where the CPU has it;
            else in fp32. With weights in few bits their products are computed in int8 where the CPU has VNNI.
        streams: Calls at once.
        threads: Threads of each.
        keeps_state: Whether it is a decoder's: its products are computed in int8 only where its precision says so.

    Raises:
        BackendUnavailableError: The CPU does not compute so.
        DeviceError: OpenVINO can't compile it.
    """
    if error := missing(compute):
        raise error
    half = is_half(compute)
    if half:
        keep_in_fp32(model)
    settings = {
        "INFERENCE_PRECISION_HINT": BF16 if half else "f32",
        "KV_CACHE_PRECISION": BF16 if half else "f32",  # of caches in blocks; by itself it would round them to 8 bits
        # in int8 it would round once more what the graph's own scales have rounded
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": _rounded_together(compute, keeps_state),
        "PERFORMANCE_HINT": "LATENCY" if streams == 1 else "THROUGHPUT",
        "NUM_STREAMS": streams,
        "INFERENCE_NUM_THREADS": streams * threads,
        "ENABLE_CPU_PINNING": False,  # every process would pin itself to the same first CPUs
    }
    try:
        return _core().compile_model(model, "CPU", settings)
    except RuntimeError as error:
        raise refused(f"openvino {version()}", "compile", error) from error


def _rounded_together(compute: str, keeps_state: bool) -> int:
    """Numbers of a row that are rounded to int8 with one step before a product; 0: none are."""
    if compute in ROUNDED:
        return GROUPED[compute]  # those that share a step of its weights
    return ROUNDED_TOGETHER if compute in WEIGHT_ONLY and not keeps_state else 0


def is_half(compute: str) -> bool:
    """Whether products are in bf16."""
    return compute == BF16 or (compute == INT8 and missing(BF16) is None)


def keep_in_fp32(model: Any) -> None:
    """Marks what stays in fp32 where products are in bf16: :data:`FP32_OPERATORS`, and the sum that pools.

    A mean's weights are 1/n for all of a row's tokens: rounded to bf16, all are off by the same share, up to 0.2 %, and
    so is the vector's length; the states and the sum are rounded as well. With MiniLM that was 0.37 % of a mean's
    length and 0.77 % of a weighted mean's, and is 2e-7 now. Such a sum is a product of one row with states, and none of
    a model's weights.
    """
    mark = _mark()
    sums = [node for node in model.get_ops() if _is_pooling(node)]
    for weights in {node.get_friendly_name(): node for each in sums for node in _weights_of(each)}.values():
        if weights.get_type_name() == "Divide":
            _keep_division(weights)
        elif not _without_bound(weights):
            weights.set_rt_info(mark, f"{_MARK}_0")
    for node in (*sums, *(node for node in model.get_ops() if node.get_type_name() in FP32_OPERATORS)):
        node.set_rt_info(mark, f"{_MARK}_0")


def _is_pooling(node: Any) -> bool:
    """Whether a node multiplies one row a text by computed states."""
    if node.get_type_name() != "MatMul" or node.get_attributes()["transpose_a"]:
        return False
    left = node.input(0).get_partial_shape()
    if left.rank.is_dynamic or left.rank.get_length() < 3 or str(left[-2]) != "1":
        return False
    states: str = _behind_shapes(node.input_value(1).get_node()).get_type_name()
    return states != "Constant"


def _weights_of(pooling: Any) -> list[Any]:
    """What the weights of such a sum are computed by, up to whole numbers, inputs or another product."""
    found: dict[str, Any] = {}
    left = [pooling.input_value(0).get_node()]
    while left:
        node = left.pop()
        real = node.output(0).get_element_type().is_real()
        stops = node.get_type_name() in ("Parameter", "Constant", "MatMul") or not real
        if not stops and node.get_friendly_name() not in found:
            found[node.get_friendly_name()] = node
            left += [node.input_value(place).get_node() for place in range(node.get_input_size())]
    return list(found.values())


def _keep_division(node: Any) -> None:
    """Writes x / y as x · (y · y⁻²), of marked nodes.

    OpenVINO makes x · y⁻¹ of a division, and a division of x · y⁻¹ before, of new nodes that have no mark.
    """
    operators, name, below = openvino().opset15, node.get_friendly_name(), node.input_value(1)
    square = operators.power(below, np.float32(-2.0), name=f"{name}/square")
    inverse = operators.multiply(below, square, name=f"{name}/inverse")
    product = operators.multiply(node.input_value(0), inverse, name=f"{name}/product")
    openvino().utils.replace_node(node, product)


def _without_bound(node: Any) -> bool:
    """Drops the greatest float as a bound, which a clamp from below is read with: OpenVINO makes a new node of both."""
    if node.get_type_name() != "Minimum":
        return False
    for side in (0, 1):
        bound = node.input_value(side).get_node()
        if bound.get_type_name() == "Constant" and (bound.data >= np.finfo(np.float32).max).all():
            node.output(0).replace(node.input_value(1 - side))
            return True
    return False


def _behind_shapes(node: Any) -> Any:
    """What a node is computed from, once that is given another shape or type."""
    while node.get_type_name() in _PASSED_ON:
        node = node.input_value(0).get_node()
    return node


def _mark() -> Any:
    """What tells OpenVINO to keep a node in fp32.

    Raises:
        BackendUnavailableError: This version does not know it.
    """
    for node in _core().read_model(_MARKED.encode()).get_ops():
        if f"{_MARK}_0" in node.get_rt_info():
            return node.get_rt_info()[f"{_MARK}_0"]
    raise BackendUnavailableError(
        "This version of openvino can't keep single operators in fp32, which bf16 needs.",
        got=f"openvino {version()}",
        allowed="openvino 2026.4",
        do=INSTALL,
    )
