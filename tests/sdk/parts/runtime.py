"""Fake ``qaicrt``: the names, arities and results that clients of the real one use, on onnxruntime.

Objects must be used by the process that made them: a forked child that touches one gets an error.
"""

import enum
import hashlib
import json
import math
import os
import random
import struct
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

_ROOT = Path(__file__).resolve().parents[3]
_MAGIC = 0x00A1CD7C
_TYPES = {
    0: np.dtype(np.float32),
    1: np.dtype(np.float16),
    6: np.dtype(np.int32),
    7: np.dtype(np.int64),
    8: np.dtype(np.int8),
}
_ONNX_TYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
    "tensor(bool)": np.bool_,
}
_lock = threading.RLock()
_taken: dict = {}  # qid → cores that programs of this process hold


def _unlock() -> None:
    global _lock
    _lock = threading.RLock()  # a thread of the parent may have held it


os.register_at_fork(after_in_child=_unlock)


def _control() -> dict:
    return json.loads((_ROOT / "control.json").read_text())


def _free(device: dict) -> int:
    return device["nsp_total"] - device["busy"] - _taken.get(device["qid"], 0)


class QStatus(enum.Enum):
    QS_SUCCESS = 0
    QS_PERM = 1
    QS_AGAIN = 2
    QS_NOMEM = 3
    QS_BUSY = 4
    QS_NODEV = 5
    QS_INVAL = 6
    QS_NOSPC = 7
    QS_BADFD = 8
    QS_TIMEDOUT = 9
    QS_PROTOCOL = 10
    QS_UNSUPPORTED = 11
    QS_DATA_CRC_ERROR = 12
    QS_DEV_ERROR = 300
    QS_ERROR = 500


class QLogLevel(enum.Enum):
    QL_DEBUG = 0
    QL_INFO = 1
    QL_WARN = 2
    QL_ERROR = 3


class QDevStatus(enum.Enum):
    QDS_INITIALIZING = 0
    QDS_READY = 1
    QDS_ERROR = 2


class QAicDeviceType(enum.Enum):
    QAIC_DEVICE_TYPE_DEFAULT = 1


def _told(method: str) -> QStatus | None:
    """The status that a test wants this method to answer, unless it wants it to throw."""
    _throw(method)
    name = _control().get("status", {}).get(method)
    return None if name is None else QStatus[name]


def _throw(what: str) -> None:
    text = _control().get("throw", {}).get(what)
    if text is not None:
        raise RuntimeError(text)


class _Object:
    """Belongs to the process that made it, and may be told to throw when it is made."""

    def _made(self) -> None:
        self._pid = os.getpid()
        _throw(type(self).__name__)

    def _ours(self) -> None:
        if self._pid != os.getpid():
            raise RuntimeError(f"{type(self).__name__} belongs to process {self._pid}, used in {os.getpid()}")


class QIDList(list):
    pass


class Context(_Object):
    def __init__(self, ids=None, /):
        self._made()
        if ids is not None and type(ids) is not QIDList:
            raise TypeError("Context(): incompatible constructor arguments")
        known = [device["qid"] for device in _control()["devices"]]
        self.ids = known if ids is None else list(ids)
        if not set(self.ids) <= set(known):
            raise RuntimeError(f"Initialization Exception: invalid device id in {self.ids}")

    def setLogLevel(self, level, /):
        self._ours()
        if not isinstance(level, QLogLevel):
            raise TypeError("setLogLevel(): incompatible function arguments")
        return _told("setLogLevel") or QStatus.QS_SUCCESS


class QAicQueueProperties:
    __slots__ = ("numThreadsPerQueue", "properties")

    def __init__(self):
        self.numThreadsPerQueue, self.properties = 4, 1


class Queue(_Object):
    def __init__(self, context, dev_id, /):
        self._made()
        if not isinstance(context, Context) or type(dev_id) is not int:
            raise TypeError("Queue(): incompatible constructor arguments")
        if dev_id not in context.ids:
            raise RuntimeError(f"Initialization Exception: device {dev_id} is not of this context")
        self._context, self._threads = context, ThreadPoolExecutor(4, "fake-qaic-queue")

    def initProperties(self, properties, /):
        self._ours()
        return QStatus.QS_SUCCESS if isinstance(properties, QAicQueueProperties) else QStatus.QS_INVAL

    def enqueue(self, exec_obj, /):
        self._ours()
        return exec_obj._enqueue(self._threads)


class _Blob:
    """Bytes-like in the one way that clients may rely on: ``bytes(blob)``."""

    def __init__(self, data):
        self._data = data

    def __bytes__(self):
        return self._data


class Qpc(_Object):
    def __init__(self, folder, /):
        self._made()
        if type(folder) is not str:
            raise TypeError("Qpc(): incompatible constructor arguments")
        path = Path(folder) / "programqpc.bin"
        if not path.is_file():
            raise RuntimeError(f"Initialization Exception: unable to open file {path}")
        data = path.read_bytes()
        head = struct.calcsize("<IBBHQQ")
        if len(data) < head or struct.unpack_from("<IBBHQQ", data)[0] != _MAGIC:
            raise RuntimeError("Initialization Exception: Failed to open QPC")
        if len(data) - head != struct.unpack_from("<IBBHQQ", data)[4]:
            raise RuntimeError("Initialization Exception: Failed to open QPC")
        self.folder, self.record = Path(folder), json.loads(data[head:])

    def getIoDescriptor(self):
        self._ours()
        told = _told("getIoDescriptor")
        body = json.dumps({"bindings": self.record["bindings"], "allowed": self.record["allowed"]})
        return (told, _Blob(b"")) if told else (QStatus.QS_SUCCESS, _Blob(body.encode()))


class _NewProperties:
    __slots__ = ("SubmitNumRetries", "dataPathTimeoutMs", "devMapping", "selectMask")


class _OldProperties:
    __slots__ = ("SubmitNumRetries", "SubmitRetryTimeoutMs", "devMapping", "selectMask")


class QAicProgramProperties(_NewProperties if _control()["generation"] == "new" else _OldProperties):
    __slots__ = ()
    _TIMEOUT = "dataPathTimeoutMs" if _control()["generation"] == "new" else "SubmitRetryTimeoutMs"

    def __init__(self):
        self.SubmitNumRetries, self.devMapping, self.selectMask = 5, "", 0
        setattr(self, self._TIMEOUT, 0)

    def timeout_seconds(self):
        return (getattr(self, self._TIMEOUT) or 5000) / 1000


class Program(_Object):
    def __init__(self, context, dev, /, qpcObj, props):
        self._made()
        right = isinstance(context, Context) and isinstance(qpcObj, Qpc) and isinstance(props, QAicProgramProperties)
        if not right or not (dev is None or type(dev) is int):
            raise TypeError("Program(): incompatible constructor arguments")
        self._context, self.qpc, self.props = context, qpcObj, props
        span = qpcObj.record["devices"]
        if dev is not None:
            self.devices = [dev]
        elif props.devMapping:
            self.devices = [int(part) for part in props.devMapping.split(":")]
        else:  # the real rule of choice is not documented: a client must not rely on it
            self.devices = context.ids[:1]
        if len(self.devices) != span or not set(self.devices) <= set(context.ids):
            raise RuntimeError(f"Initialization Exception: program for {span} device(s), given {self.devices}")
        self.loaded = self.active = False
        self.live, self.card, self.network = 0, threading.Lock(), None

    def load(self):
        self._ours()
        told = _told("load")
        if told:
            return told
        with _lock:
            if not self.loaded and self.qpc.record["compute"] == "emulate":
                self.network = _open_network(self.qpc.folder / "network.onnx")
            self.loaded = True
        return QStatus.QS_SUCCESS

    def unload(self):
        self._ours()
        if self.active:
            return QStatus.QS_ERROR
        self.loaded = False
        return QStatus.QS_SUCCESS

    def activate(self):
        self._ours()
        told = _told("activate")
        if told:
            return told
        if self._take_cores() or _control().get("late_nsp_failure"):
            return QStatus.QS_SUCCESS
        return QStatus.QS_DEV_ERROR

    def _take_cores(self):
        with _lock:
            if self.active:
                return True
            cores = self.qpc.record["cores"]
            known = {device["qid"]: device for device in _control()["devices"]}
            if any(known[qid]["status"] != "Ready" or _free(known[qid]) < cores for qid in self.devices):
                return False
            for qid in self.devices:
                _taken[qid] = _taken.get(qid, 0) + cores
            self.active = True
            return True

    def deactivate(self):
        self._ours()
        told = _told("deactivate")
        if told:
            return told
        with _lock:
            if self.live:
                return QStatus.QS_INVAL
            if self.active:
                for qid in self.devices:
                    _taken[qid] -= self.qpc.record["cores"]
            self.active = False
        return QStatus.QS_SUCCESS

    def initProperties(self, props, /):
        self._ours()
        return QStatus.QS_SUCCESS if isinstance(props, QAicProgramProperties) else QStatus.QS_INVAL

    def compute(self, arrays, shapes):
        """Arrays by name in, arrays by name out, while the card is busy for as long as a test wants."""
        control = _control()
        delay = control.get("device_time_ms", 0) / 1000
        if control.get("out_of_order"):
            time.sleep(delay * random.random())
        else:
            with self.card:
                time.sleep(delay)
        if self.network is None:
            return _digest(self.qpc.record, arrays, shapes)
        wanted = {i.name: _ONNX_TYPES[i.type] for i in self.network.get_inputs()}
        names = [output.name for output in self.network.get_outputs()]
        feeds = {name: arrays[name].astype(dtype) for name, dtype in wanted.items()}
        return dict(zip(names, self.network.run(names, feeds), strict=True))


def _open_network(path):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    # the optimiser must not see that a cast to fp16 and back could go
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _digest(record, arrays, shapes):
    """One number stream per row, a function of the row's real tokens only."""
    inputs = [b["name"] for b in record["bindings"] if b["dir"] == 0]
    mask = arrays.get("attention_mask", np.ones_like(arrays[inputs[0]])).astype(bool)
    result = {}
    for binding in record["bindings"]:
        if binding["dir"] == 1:
            rows = [hashlib.shake_256(_tokens(arrays, inputs, row, mask)) for row in range(len(mask))]
            shape = shapes[binding["index"]]
            each = math.prod(shape[1:])
            numbers = [np.frombuffer(row.digest(2 * each), np.uint16) for row in rows]
            result[binding["name"]] = (np.stack(numbers) / 65535 - 0.5).astype(np.float32).reshape(shape)
    return result


def _tokens(arrays, inputs, row, mask):
    return b"|".join(arrays[name][row][mask[row]].tobytes() for name in inputs)


class QBuffer:
    def __init__(self, data, /):
        _throw("QBuffer")
        if not isinstance(data, bytes | bytearray | memoryview):
            raise TypeError("QBuffer(): incompatible constructor arguments")
        self._data = bytes(data)

    @property
    def size(self):
        return len(self._data)

    def __bytes__(self):
        return self._data


class BufferDimensionsVecRef(list):
    def __init__(self, entries, /):
        checked = [(int(size), list(map(int, dims))) for size, dims in entries]
        super().__init__(checked)


class ExecObj(_Object):
    def __init__(self, context, program, /):
        self._made()
        if not isinstance(context, Context) or not isinstance(program, Program):
            raise TypeError("ExecObj(): incompatible constructor arguments")
        self._counted = False
        self._program, self._context = program, context
        if not program.active:  # made without activate(): the runtime does it by itself
            program.load()
            if not program._take_cores():
                raise RuntimeError(
                    "Initialization Exception: QAIC_ERROR_NSP_ALLOC_FAILED: Failed to allocate NSP resources"
                )
        with _lock:
            program.live += 1
        self._counted = True
        self._buffers = self._dims = self._future = None

    def __del__(self):
        if getattr(self, "_counted", False) and self._pid == os.getpid():
            with _lock:
                self._program.live -= 1

    def setData(self, buffers, dims, /):
        self._ours()
        told = _told("setData")
        if told:
            return told
        if not isinstance(dims, BufferDimensionsVecRef) or not all(isinstance(b, QBuffer) for b in buffers):
            raise TypeError("setData(): incompatible function arguments")
        bindings = self._program.qpc.record["bindings"]
        if not self._program.active or len(buffers) != len(bindings) or len(dims) != len(bindings):
            return QStatus.QS_INVAL
        if self._future is not None and not self._future.done():
            return QStatus.QS_BUSY
        for binding, buffer in zip(bindings, buffers, strict=True):
            if binding["partial"] and buffer.size > _largest(self._program.qpc.record, binding):
                return QStatus.QS_ERROR
        self._buffers, self._dims = list(buffers), list(dims)
        return QStatus.QS_SUCCESS

    def _enqueue(self, threads):
        self._ours()
        told = _told("enqueue")
        if told:
            return told
        if self._buffers is None:
            return QStatus.QS_INVAL
        if self._future is not None and not self._future.done():
            return QStatus.QS_BUSY
        self._future = threads.submit(_run, self._program, self._buffers, self._dims)
        return QStatus.QS_SUCCESS

    def waitForCompletion(self):
        self._ours()
        if self._future is None:
            return QStatus.QS_INVAL
        try:
            done = self._future.result(self._program.props.timeout_seconds())
        except TimeoutError:
            return QStatus.QS_TIMEDOUT
        told = _told("waitForCompletion")
        return told or (QStatus.QS_SUCCESS if done is not None else QStatus.QS_ERROR)

    def getData(self):
        self._ours()
        told = _told("getData")
        if told:
            return told, []
        if self._future is None or not self._future.done():
            return QStatus.QS_INVAL, []
        return QStatus.QS_SUCCESS, [QBuffer(data) for data in self._future.result() or []]

    def run(self):
        raise NotImplementedError("clients go through a Queue")


def _largest(record, binding):
    shapes = [entry[binding["index"]]["dims"] for entry in record["allowed"]] or [binding["dims"]]
    return _TYPES[binding["type"]].itemsize * max(map(math.prod, shapes))


def _run(program, buffers, dims):
    """The buffers after the inference, or ``None`` when no compiled shape has these dims."""
    record = program.qpc.record
    bindings = record["bindings"]
    shapes = [list(shape) for _, shape in dims]
    allowed = [[s["dims"] for s in entry] for entry in record["allowed"]] or [[b["dims"] for b in bindings]]
    skipped = [b["partial"] and buffer.size == 0 for b, buffer in zip(bindings, buffers, strict=True)]
    fits = [e for e in allowed if all(k or a == s for k, a, s in zip(skipped, e, shapes, strict=True))]
    sizes = [_TYPES[b["type"]].itemsize for b in bindings]
    right = [
        skip or (size == item and buffer.size == item * math.prod(shape))
        for skip, (size, _), item, buffer, shape in zip(skipped, dims, sizes, buffers, shapes, strict=True)
    ]
    if not fits or not all(right) or any(k and b["dir"] == 0 for k, b in zip(skipped, bindings, strict=True)):
        return None  # "No matching dimension found" in the runtime's log
    arrays = {
        b["name"]: np.frombuffer(bytes(buffer), _TYPES[b["type"]]).reshape(shape)
        for b, buffer, shape in zip(bindings, buffers, shapes, strict=True)
        if b["dir"] == 0
    }
    found, results = program.compute(arrays, fits[0]), []
    for binding, buffer, skip in zip(bindings, buffers, skipped, strict=True):
        data = bytes(buffer)
        if binding["dir"] == 1 and not skip:
            data = np.ascontiguousarray(found[binding["name"]].astype(_TYPES[binding["type"]])).tobytes()
            if _control().get("short_output"):
                data = data[:-1]
        results.append(data)
    return results


class _Record:
    def __init__(self, **facts):
        self.__dict__.update(facts)


class Util:
    def __init__(self):
        _throw("Util")

    def getDeviceIds(self, deviceType=QAicDeviceType.QAIC_DEVICE_TYPE_DEFAULT, /):
        told = _told("getDeviceIds")
        ids = QIDList(device["qid"] for device in _control()["devices"])
        if told or not ids:
            return told or QStatus.QS_NODEV, QIDList()
        return QStatus.QS_SUCCESS, ids

    def getDeviceInfo(self, qid, /):
        told = _told("getDeviceInfo")
        control = _control()
        device = next((device for device in control["devices"] if device["qid"] == qid), None)
        if told or device is None:
            return told or QStatus.QS_NODEV, None
        ready = device["status"] == "Ready"
        status = QDevStatus.QDS_READY if ready else QDevStatus.QDS_ERROR
        dram = 32768 * (1024 if control.get("dram_unit") == "KB" else 1)
        with _lock:
            resources = _Record(dramTotal=dram, dramFree=dram, nspTotal=device["nsp_total"], nspFree=_free(device))
        data = _Record(resourceInfo=resources, fwImageVariantString=control.get("image_variant", "AIC100.FW"))
        return QStatus.QS_SUCCESS, _Record(qid=qid, devStatus=status, name=f"qaic{qid}", devData=data)

    def checkLibraryVersion(self):
        return QStatus.QS_SUCCESS
