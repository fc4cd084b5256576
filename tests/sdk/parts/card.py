"""The fake card behind the fake ``qaicrt``: how long inferences take, what they give, and what all of it cost.

With ``compute="echo"`` it computes nothing: an output is a function of a digest of its row's real tokens, and one
timer thread ends the inferences of all devices. In real life that is native code beside the interpreter; here it needs
the GIL, so :func:`report` says how much CPU time was the fake's own.
"""

import hashlib
import heapq
import itertools
import json
import math
import mmap
import os
import random
import threading
import time
import zlib
from pathlib import Path

import numpy as np

_CONTROL = Path(__file__).resolve().parents[3] / "control.json"
with open(_CONTROL.with_suffix(".counter"), "rb") as _file:
    _COUNTER = mmap.mmap(_file.fileno(), 8, access=mmap.ACCESS_READ)
TYPES = {
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
_LINGER = 0.2  # seconds without work after which the timer thread ends
_STREAM = np.random.default_rng(0).random(1 << 20, np.float32) - 0.5  # what an echo is cut from
_read = (b"", {})


def control() -> dict:
    """The switches, as a test set them last. Every call looks, so looking is a read of memory."""
    global _read
    count = _COUNTER[:8]
    if _read[0] != count:
        _read = (count, json.loads(_CONTROL.read_text()))
    return _read[1]


# ------------------------------------------------------------------------------------------------ what it cost

_cpu: dict = {}  # thread → CPU seconds; each thread writes its own
_devices: dict = {}  # qid → [inferences, seconds busy, in flight, most in flight]


def device(qid: int) -> list:
    return _devices.setdefault(qid, [0, 0.0, 0, 0])


def spent(start: float) -> None:
    """Count this thread's CPU time since ``start`` as the fake's."""
    thread = threading.get_ident()
    _cpu[thread] = _cpu.get(thread, 0.0) + time.thread_time() - start


def report() -> dict:
    """Since the last call of it: the fake's CPU seconds, and what each device did."""
    cpu, devices = sum(_cpu.values()), {qid: list(counted) for qid, counted in _devices.items()}
    _cpu.clear()
    for counted in _devices.values():
        counted[:] = [0, 0.0, counted[2], counted[2]]
    names = ("inferences", "busy_seconds", "in_flight", "most_in_flight")
    return {"cpu_seconds": cpu, "devices": {qid: dict(zip(names, c, strict=True)) for qid, c in devices.items()}}


def is_gone(qids: list) -> bool:
    """Whether a test wants one of these devices to fail by now."""
    limits = control().get("fail_after")
    return bool(limits) and any(device(q)[0] >= limits.get(str(q), math.inf) for q in qids)


def seconds_of(qids: list) -> float:
    """What an inference takes on these devices."""
    told = control().get("device_time_ms", 0)
    return (max(told.get(str(q), 0) for q in qids) if isinstance(told, dict) else told) / 1000


# ------------------------------------------------------------------------------------------------ one inference


class Flight:
    """One inference, from enqueue to its end. ``given`` is what setData took."""

    __slots__ = ("done", "failed", "given", "landed", "named", "program", "results", "spoilt")

    def __init__(self, program, given):
        self.program, self.given = program, given
        self.named = given.named_slots(program) if program.pairs else None
        self.results, self.failed, self.landed, self.spoilt = None, None, False, False
        self.done = threading.Lock()
        self.done.acquire()
        for qid in program.devices:
            counted = device(qid)
            counted[2] += 1
            counted[3] = max(counted[3], counted[2])

    def land(self, seconds):
        """End it: with results, or the name of a status."""
        try:
            if is_gone(self.program.devices):
                self.failed = "QS_DEV_ERROR"
            else:
                self.results = self.given.compute(self.program)
                self.failed = "QS_ERROR" if self.results is None else None
        except Exception as error:  # a client that frees what the card still uses, say
            self.failed = f"{type(error).__name__}: {error}"
        for qid in self.program.devices:
            counted = device(qid)
            counted[2] -= 1
            if self.results is not None:
                counted[0] += 1
                counted[1] += seconds
        with _spoiling:
            self.given, self.landed = None, True
            if self.failed or self.spoilt:
                self._spoil()
        self.done.release()

    def spoil(self):
        """The client was told that it failed: what it had in hand of retained state is lost."""
        with _spoiling:
            if self.landed:
                self._spoil()
            self.spoilt = True

    def _spoil(self):
        state = self.program.state
        if state is not None:
            state.lose(None if control().get("lost_slots") == "all" else self.named)

    def wait(self, timeout) -> bool:
        if not self.landed and self.done.acquire(timeout=timeout):
            self.done.release()
        return self.landed


_spoiling = threading.Lock()


class Copied:
    """Data that setData took as buffers and dims."""

    def __init__(self, buffers, dims):
        self.buffers, self.dims = list(buffers), list(dims)

    def named_slots(self, program):
        place = program.slot_input
        return None if place is None else np.frombuffer(bytes(self.buffers[place]), np.int64).copy()

    def seconds(self, program):
        sizes = [buffer.size for buffer in self.buffers]
        return program.seconds(tuple((n, tuple(d), size) for (n, d), size in zip(self.dims, sizes, strict=True)))

    def compute(self, program):
        """The bytes of all buffers after the inference, or ``None`` when no compiled shape has these dims."""
        sizes = [buffer.size for buffer in self.buffers]
        entry = program.entry(tuple((n, tuple(d), size) for (n, d), size in zip(self.dims, sizes, strict=True)))
        if entry is None:
            return None  # "No matching dimension found" in the runtime's log
        every = list(zip(program.bindings, self.buffers, self.dims, strict=True))
        arrays = {
            b["name"]: np.frombuffer(bytes(buffer), TYPES[b["type"]]).reshape(dims)
            for b, buffer, (_, dims) in every
            if b["dir"] == 0 and (buffer.size or b["name"] not in program.pairs)
        }
        found, results = outputs(program, arrays, entry), []
        if found is None:
            return None
        sizes = [[buffer.size for b, buffer, _ in every if b["dir"] == direction] for direction in (0, 1)]
        program.count(entry, *map(sum, sizes))
        for binding, buffer, _ in every:
            data = bytes(buffer)
            if binding["dir"] == 1 and (data or not binding["partial"]):
                data = np.ascontiguousarray(found[binding["name"]].astype(TYPES[binding["type"]])).tobytes()
                if control().get("short_output"):
                    data = data[:-1]
            results.append(data)
        return results


class InPlace:
    """Data that setData took as arrays of the client. It owns none of them, as the real one is said not to."""

    def __init__(self, arrays):
        self.arrays = arrays  # index → weak reference

    def named_slots(self, program):
        array = self.arrays[program.slot_input]() if program.slot_input in self.arrays else None
        return None if array is None else array.reshape(-1).copy()

    def seconds(self, program):
        arrays = [self.arrays.get(index, lambda: None)() for index in range(len(program.bindings))]
        return program.seconds(tuple((0, (0,), 0) if a is None else (a.itemsize, a.shape, a.nbytes) for a in arrays))

    def compute(self, program):
        """Fills the output arrays. Returns no bytes, or ``None`` when no compiled shape has these dims."""
        arrays = {index: found() for index, found in self.arrays.items()}
        if any(array is None for array in arrays.values()):
            raise RuntimeError("the client freed an array before its inference had ended")
        every = [(arrays.get(index), binding) for index, binding in enumerate(program.bindings)]
        entry = program.entry(tuple((0, (0,), 0) if a is None else (a.itemsize, a.shape, a.nbytes) for a, _ in every))
        if entry is None:
            return None
        given = {b["name"]: a for a, b in every if b["dir"] == 0 and (a is not None and a.size)}
        found = outputs(program, given, entry)
        if found is None:
            return None
        sizes = [[a.nbytes for a, b in every if a is not None and b["dir"] == direction] for direction in (0, 1)]
        program.count(entry, *map(sum, sizes))
        short = control().get("short_output")
        for array, binding in every:
            if binding["dir"] == 1 and array is not None and array.size:
                array.reshape(-1)[: -1 if short else None] = found[binding["name"]].reshape(-1)[: -1 if short else None]
        return []


# ------------------------------------------------------------------------------------------------ what it gives


def outputs(program, arrays, shapes):
    """Output name → array, or ``None`` for rows that a test wants no device to compute."""
    poison = control().get("poison")
    if poison is not None and any((array == poison).any() for array in arrays.values()):
        return None
    if program.network is None:
        function = echo if program.record["compute"] == "echo" else _digest
        return function(program.record, arrays, shapes)
    wanted = {i.name: _ONNX_TYPES[i.type] for i in program.network.get_inputs()}
    names = [output.name for output in program.network.get_outputs()]
    if program.pairs:
        refuse_a_slot_named_twice(arrays.get("batch_index"))
        arrays = {**arrays, **program.state.inputs(arrays)}
    feeds = {name: arrays[name].astype(dtype) for name, dtype in wanted.items()}
    found = dict(zip(names, program.network.run(names, feeds), strict=True))
    if program.pairs:
        found.update(program.state.keep(found))
    return found


def refuse_a_slot_named_twice(slots):
    """What a card does then is not known. Idle rows are -1."""
    named = [] if slots is None else slots[slots >= 0].tolist()
    if len(set(named)) != len(named):
        raise RuntimeError(f"a slot is named twice in one run: {named}")


def open_network(path):
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


def echo(record, arrays, shapes):
    """As :func:`_digest` at next to no cost, of the numbers up to a row's last that is not 0.

    Small steps only: numpy lets go of the GIL in larger ones, and no native SDK would.
    """
    rows = [0] * len(next(iter(arrays.values())))
    for array in arrays.values():
        data, each = array.tobytes(), array.nbytes // len(array)
        for place, before in enumerate(rows):
            rows[place] = zlib.crc32(data[place * each : (place + 1) * each].rstrip(b"\0"), before)
    result = {}
    for binding in record["bindings"]:
        if binding["dir"] == 1:
            shape = shapes[binding["index"]]
            each = math.prod(shape[1:])
            numbers = np.empty((shape[0], each), np.float32)
            for place, row in enumerate(rows):
                start = row % (len(_STREAM) - each)
                numbers[place] = _STREAM[start : start + each]
            result[binding["name"]] = numbers.reshape(shape)
    return result


# ------------------------------------------------------------------------------------------------ time


def delay(seconds, flight, program):
    """A thread of a queue: the card is busy for a while, then the inference ends."""
    if control().get("out_of_order"):
        time.sleep(seconds * random.random())
    else:
        with program.card:
            time.sleep(seconds)
    flight.land(seconds)


class Clock:
    """The one timer thread. A device goes on to its next inference by itself, however late this thread wakes up.

    Its alarm is a lock that somebody else opens. ``SimpleQueue.get`` would not do: in Python 3.11, where a timeout is
    over by the time that it looks again, it waits for ever.
    """

    def __init__(self):
        self._lock, self._numbers = threading.Lock(), itertools.count()
        self._due, self._thread, self._alarm, self._wakes_at = [], None, threading.Lock(), 0.0
        self._alarm.acquire()

    def start(self, flight, program, seconds):
        """The inference takes this long on its device, after those before it."""
        with self._lock:
            now = time.monotonic()
            program.free_at = due = max(now, program.free_at) + seconds
            if control().get("out_of_order"):
                due = now + seconds * random.random()
            heapq.heappush(self._due, (due, next(self._numbers), seconds, flight))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="fake-qaic-clock", daemon=True)
                try:
                    self._thread.start()
                except RuntimeError:  # from Python 3.12 on none starts after the main thread's end; a card needs none
                    self._thread = None
                    self._due.clear()
                    time.sleep(max(0.0, due - now))
                    flight.land(seconds)
            elif due < self._wakes_at and self._alarm.locked():
                self._alarm.release()

    def _run(self):
        before = time.thread_time()  # all that this thread does is the fake's
        while True:
            with self._lock:
                now, landing = time.monotonic(), []
                while self._due and self._due[0][0] <= now:
                    landing.append(heapq.heappop(self._due))
                self._wakes_at = 0.0 if landing else self._due[0][0] if self._due else now + _LINGER
            for _, _, seconds, flight in landing:
                flight.land(seconds)
            spent(before)
            before = time.thread_time()
            if landing:
                continue
            if not self._alarm.acquire(timeout=max(0.0, self._wakes_at - now)):
                with self._lock:
                    if not self._due and self._wakes_at <= time.monotonic():
                        self._thread = None
                        return


clock = Clock()


def _forked():
    global clock
    clock = Clock()  # the timer thread did not come along
    _devices.clear()


os.register_at_fork(after_in_child=_forked)
