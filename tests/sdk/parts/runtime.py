"""Fake ``qaicrt``: the names, arities and results that clients of the real one use, on onnxruntime.

Objects must be used by the process that made them: a forked child that touches one gets an error.
"""

import enum
import json
import math
import os
import struct
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np

_ROOT = Path(__file__).resolve().parents[3]
_MAGIC = 0x00A1CD7C


def _load(name):
    spec = spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


card, retained = _load("fake_card"), _load("fake_state")
_control = card.control
_lock = threading.RLock()
_taken: dict = {}  # qid → cores that programs of this process hold


def _unlock() -> None:
    global _lock
    _lock = threading.RLock()  # a thread of the parent may have held it


os.register_at_fork(after_in_child=_unlock)


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
    control = _control()
    if "throw" in control:
        _throw(method)
    name = control["status"].get(method) if "status" in control else None
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
        start = time.thread_time()
        self._ours()
        status = exec_obj._enqueue(self._threads)
        card.spent(start)
        return status


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
        self.live, self.card, self.free_at, self.network = 0, threading.Lock(), 0.0, None
        self.record, self._entries = qpcObj.record, {}
        self.bindings = self.record["bindings"]
        self.pairs, self.state = self.record["pairs"], None
        self.slot_input = next((b["index"] for b in self.bindings if b["name"] == "batch_index"), None)
        self._both = {*self.pairs, *self.pairs.values()}
        # inferences on retained state go one after the other, in the order of their submission
        self._in_order = ThreadPoolExecutor(1, "fake-qaic-program") if self.pairs else None

    def load(self):
        self._ours()
        told = _told("load")
        if told:
            return told
        with _lock:
            if not self.loaded and self.qpc.record["compute"] == "emulate":
                self.network = card.open_network(self.qpc.folder / "network.onnx")
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
            if self.pairs:
                self.state = retained.State(self.record, _control().get("state_at_start", "garbage"), _control)
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
            self.active, self.state = False, None
        return QStatus.QS_SUCCESS

    def initProperties(self, props, /):
        self._ours()
        return QStatus.QS_SUCCESS if isinstance(props, QAicProgramProperties) else QStatus.QS_INVAL

    def entry(self, given):
        """The compiled shape that fits ``(item size, dims, bytes)`` of each binding, or ``None``."""
        if given not in self._entries:
            self._entries[given] = self._find(given)
        return self._entries[given]

    def _find(self, given):
        every = list(zip(self.bindings, given, strict=True))
        skipped = [b["partial"] and nbytes == 0 for b, (_, _, nbytes) in every]
        for skip, (binding, _) in zip(skipped, every, strict=True):
            if skip and binding["dir"] == 0 and binding["name"] not in self.pairs:
                return None
            opaque = self.record["precisions"].get(binding["name"].removesuffix("_RetainedState")) == "mxint8"
            if opaque and binding["name"] in self._both and not skip:
                return None  # how MXINT8 looks to a host is not documented, so no client can pass or read it
        for skip, (binding, (size, dims, nbytes)) in zip(skipped, every, strict=True):
            item = retained.item_size(binding["type"])
            if not skip and (size != item or nbytes != item * math.prod(dims)):
                return None
        allowed = [[s["dims"] for s in entry] for entry in self.record["allowed"]] or [
            [b["dims"] for b in self.bindings]
        ]
        shapes = [list(dims) for _, dims, _ in given]
        fits = (e for e in allowed if all(k or a == s for k, a, s in zip(skipped, e, shapes, strict=True)))
        return next(fits, None)

    def seconds(self, given):
        """What this run takes by its entry, where a test says so: ``{"Decode": 3}``, in milliseconds."""
        told, entry = _control().get("entry_time_ms"), self.entry(given) if "entry_time_ms" in _control() else None
        return 0.0 if entry is None else told.get(self._name(entry), 0) / 1000

    def _name(self, entry):
        allowed = [[s["dims"] for s in one] for one in self.record["allowed"]]
        return self.record["entries"][allowed.index(entry) if allowed else 0]

    def count(self, entry, bytes_in, bytes_out):
        if self.pairs:
            held = self.state.nbytes
            retained.count(entry=self._name(entry), bytes_in=bytes_in, bytes_out=bytes_out, state_bytes=held)


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
        self._given = self._flight = None
        self._last = {}  # index → weak reference to the array that was listed for an input last

    def __del__(self):
        if getattr(self, "_counted", False) and self._pid == os.getpid():
            with _lock:
                self._program.live -= 1

    def setData(self, data, dims=None, /):
        """Buffers with their dims; or, where the SDK has it, ``(index, array)`` pairs that are used in place."""
        start = time.thread_time()
        self._ours()
        told = _told("setData")
        if told:
            return told
        if dims is None:
            status = self._set_in_place(data)
        else:
            status = self._set_copies(data, dims)
        card.spent(start)
        return status

    def _set_copies(self, buffers, dims):
        if not isinstance(dims, BufferDimensionsVecRef) or not all(isinstance(b, QBuffer) for b in buffers):
            raise TypeError("setData(): incompatible function arguments")
        bindings = self._program.bindings
        if not self._program.active or len(buffers) != len(bindings) or len(dims) != len(bindings):
            return QStatus.QS_INVAL
        if self._in_flight():
            return QStatus.QS_BUSY
        for binding, buffer in zip(bindings, buffers, strict=True):
            if binding["partial"] and buffer.size > _largest(self._program.record, binding):
                return QStatus.QS_ERROR
        self._given = card.Copied(buffers, dims)
        return QStatus.QS_SUCCESS

    def _set_in_place(self, pairs):
        control = _control()
        if not control.get("in_place", control["generation"] == "new"):
            raise TypeError("setData(): incompatible function arguments")
        for index, array in pairs:
            if type(index) is not int or not isinstance(array, np.ndarray) or not array.flags.c_contiguous:
                raise TypeError("setData(): incompatible function arguments")
        bindings = self._program.bindings
        needed = {b["index"] for b in bindings if not b["partial"]} - set(self._last)
        given = dict(pairs)
        if (
            not self._program.active
            or len(given) != len(pairs)
            or not needed <= set(given) <= set(range(len(bindings)))
        ):
            return QStatus.QS_INVAL
        if self._in_flight():
            return QStatus.QS_BUSY
        for index, array in pairs:
            writes = bindings[index]["dir"] == 1
            if array.dtype != card.TYPES.get(bindings[index]["type"]) or (writes and not array.flags.writeable):
                return QStatus.QS_INVAL
            if self._program.pairs and array.nbytes > _largest(self._program.record, bindings[index]):
                return QStatus.QS_ERROR
        listed = {index: weakref.ref(array) for index, array in pairs}
        state = self._program.pairs
        self._given = card.InPlace({**self._last, **listed})
        inputs = {i for i, b in enumerate(bindings) if b["dir"] == 0 and b["name"] not in state}
        self._last |= {index: array for index, array in listed.items() if index in inputs}
        return QStatus.QS_SUCCESS

    def _in_flight(self):
        return self._flight is not None and not self._flight.landed

    def _enqueue(self, threads):
        told = _told("enqueue")
        if told:
            return told
        if self._given is None:
            return QStatus.QS_INVAL
        if self._in_flight():
            return QStatus.QS_BUSY
        program = self._program
        if card.is_gone(program.devices):
            return QStatus.QS_DEV_ERROR
        seconds = card.seconds_of(program.devices) + self._given.seconds(program)
        self._flight = flight = card.Flight(program, self._given)
        if program.record["compute"] == "echo":
            card.clock.start(flight, program, seconds)
        else:
            try:
                (program._in_order or threads).submit(card.delay, seconds, flight, program)
            except RuntimeError:  # the interpreter ends and lends no more threads, which is nothing to a card
                card.delay(seconds, flight, program)
        return QStatus.QS_SUCCESS

    def waitForCompletion(self):
        start = time.thread_time()
        self._ours()
        flight = self._flight
        if flight is None:
            return QStatus.QS_INVAL
        if not flight.wait(self._program.props.timeout_seconds()):
            flight.spoil()
            return QStatus.QS_TIMEDOUT
        status = _told("waitForCompletion") or QStatus.QS_SUCCESS
        if status != QStatus.QS_SUCCESS:
            flight.spoil()
        if flight.failed in QStatus.__members__:
            status = QStatus[flight.failed]
        elif flight.failed:
            failed = flight.failed
            del self, flight  # no traceback of native code keeps an ExecObj alive
            raise RuntimeError(failed)
        card.spent(start)
        return status

    def getData(self):
        start = time.thread_time()
        self._ours()
        told = _told("getData")
        if told:
            return told, []
        if self._flight is None or not self._flight.landed:
            return QStatus.QS_INVAL, []
        found = [QBuffer(data) for data in self._flight.results or []]
        card.spent(start)
        return QStatus.QS_SUCCESS, found

    def run(self):
        raise NotImplementedError("clients go through a Queue")


def _largest(record, binding):
    shapes = [entry[binding["index"]]["dims"] for entry in record["allowed"]] or [binding["dims"]]
    return retained.item_size(binding["type"]) * max(map(math.prod, shapes))


class _Record:
    def __init__(self, **facts):
        self.__dict__.update(facts)


def report():
    """Not part of the SDK: what the fake has cost, and what each device has done, since the last call."""
    return card.report()


def traffic():
    """Not part of the SDK: one record for each run on retained state since the last call."""
    return retained.traffic()


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
