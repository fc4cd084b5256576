"""A program in onnxruntime: what it is loaded with, and how its runs share the CPUs.

On Linux, onnxruntime 1.32 records usage events and sends them to its maker. This backend switches that off as far as
its API goes; one event about the process is recorded at import all the same. Only ``ORT_DISABLE_TELEMETRY=1``, set
before the process starts, stops it wholly. It also keeps a forked child that ends through ``sys.exit`` from hanging.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from QEfficient.backends.base import Arrays
from QEfficient.backends.host import NARROW, sums_int8_in_32_bits
from QEfficient.backends.host_session import HostSession, check_names
from QEfficient.backends.refusals import corrupt_graph, no_row, refused
from QEfficient.errors import BackendUnavailableError, DeviceError, InputError
from QEfficient.records import Json

_CORRUPT = ("NoSuchFile", "InvalidProtobuf", "InvalidGraph", "InvalidArgument")  # onnxruntime's exception classes
_CORRUPT_WORDS = ("External data path", "External initializer", "Deserialize tensor")  # or "Fail" with one of these

SLOW_FUSIONS = ("SkipLayerNormFusion",)
"""Its kernel takes one element at a time: 0.97 ms for 504 × 384 numbers, against 0.11 ms of a plain LayerNormalization
and 0.1 ms of the two additions before it. Without it MiniLM is 1.09 times as fast; benchmarks/rewrites.py shows it."""

# CPUs that a run counts for among others. A short text keeps no more busy all the time, and the handle's threads help
# whichever run has work: two texts at once on two CPUs, each counted for one, are 0.8 to 1.05 times as fast in sum.
_RUN = 2


class OnnxRuntimeSession(HostSession[Any]):
    """A program on the host's CPUs; see :class:`QEfficient.backends.host_session.HostSession`."""

    backend = "onnxruntime"
    places = _RUN

    def _open(self, streams: int, threads: int) -> Any:
        # each caller works itself; the other threads are common to all
        handle = load(self._path, threads=streams * (threads - 1) + 1, compute=self._compute)
        check_names(self._path, "inputs", self.inputs, [argument.name for argument in handle.get_inputs()])
        check_names(self._path, "outputs", self.outputs, [argument.name for argument in handle.get_outputs()])
        return handle

    def _call(self, handle: Any, arrays: Mapping[str, NDArray[np.generic]]) -> Arrays:
        names = [spec.name for spec in self.outputs]
        try:
            results = handle.run(names, dict(arrays))
        except Exception as error:  # onnxruntime's exceptions have no common class below Exception
            raise run_error(error) from error
        return dict(zip(names, results, strict=True))

    def _facts(self) -> dict[str, Json]:
        return {"onnxruntime": str(onnxruntime().__version__)}


def onnxruntime() -> ModuleType:
    """The module, with its usage events switched off.

    Raises:
        BackendUnavailableError: It is not installed, or does not load on this machine.
    """
    try:
        import onnxruntime  # imported on use: 0.1 s
    except ImportError as error:
        raise BackendUnavailableError(
            "onnxruntime can't be imported.",
            got=str(error),
            allowed="onnxruntime 1.32 or later",
            do="pip install onnxruntime",
        ) from error
    onnxruntime.disable_telemetry_events()
    return onnxruntime  # type: ignore[no-any-return, unused-ignore]


def run_error(error: Exception) -> InputError | DeviceError:
    """The error to raise where onnxruntime's own ended a run."""
    if "out of data bounds" in str(error):
        return no_row(str(error))
    return refused(f"onnxruntime {onnxruntime().__version__}", "run", error)


def load(path: Path, *, threads: int, compute: str = "fp32", check_only: bool = False) -> Any:
    """An ``InferenceSession``.

    Args:
        path: The graph.
        threads: CPUs of a run: the caller's thread, and so many less one that all runs share.
        compute: The program's precision.
        check_only: Leave out what costs memory and time.

    Raises:
        CorruptArtefactError: A file is missing, short, altered or outside the folder.
        DeviceError: onnxruntime refuses it for another reason.
    """
    ort = onnxruntime()
    options = ort.SessionOptions()
    options.log_severity_level = 4  # whatever fails is raised; the log on stderr would only say it twice
    options.intra_op_num_threads = threads
    # Threads that wait for work at full speed, between the parts of a run, make it 1.2 to 1.3 times as fast; those that
    # still do when the next text comes, 1.03 times. More than 200 µs gain nothing, and as they are set by default they
    # go on for 40 ms after the run: streams and other sessions beside them then run at half their speed.
    options.add_session_config_entry("session.intra_op.spin_duration_us", "200")
    if compute in NARROW:
        # Weights are turned back into fp32 once, here. onnxruntime's product with such weights as they are either turns
        # them back in each run, which makes a short text several times as slow, or rounds each row to int8 first. A
        # decoder's are multiplied as they are where its joined form says so (``narrow_products``).
        options.add_session_config_entry("session.disable_quant_qdq", "1")
    if not sums_int8_in_32_bits():
        # weights as uint8, whose kernel is slower and exact; else sums that leave 16 bits are cut off in silence
        options.add_session_config_entry("session.x64quantprecision", "1")
    if check_only:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.add_session_config_entry("session.disable_prepacking", "1")
    try:
        return ort.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"], disabled_optimizers=list(SLOW_FUSIONS)
        )
    except Exception as error:  # onnxruntime's exceptions have no common class below Exception
        text = str(error)
        if type(error).__name__ in _CORRUPT or any(words in text for words in _CORRUPT_WORDS):
            raise corrupt_graph(path, error) from error
        raise refused(f"onnxruntime {ort.__version__}", "load", error) from error
