"""The fake SDK is strict: it fails where the real one is known to fail, whatever our own client does."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from tests import tiny_graphs
from tests.sdk import FakeSdk, make_sdk
from tests.sdk.parts.emulate import round_to_mxfp6

FLAT = {"specializations": [{"batch_size": "2", "seq_len": "8"}, {"batch_size": "2", "seq_len": "16"}]}
NAMED = {"specializations": [{"name": f"N{i}", "symbols": s} for i, s in enumerate(FLAT["specializations"])]}


class Bench:
    """One SDK, one graph, and the compiler called by hand."""

    def __init__(self, folder: Path, generation: str = "new", **switches: Any) -> None:
        self.folder = folder
        self.sdk = make_sdk(folder / "sdk", generation=generation, **switches)
        self.out = folder / "qpc"
        self.model = tiny_graphs.make(folder / "graph").path
        (folder / "specializations.json").write_text(json.dumps(FLAT))

    def spec(self, content: Any) -> str:
        path = self.folder / "other.json"
        path.write_text(json.dumps(content))
        return f"-network-specialization-config={path}"

    @property
    def arguments(self) -> list[str]:
        hardware = "ai100" if self.sdk.generation == "new" else "2.0"
        flat = f"-network-specialization-config={self.folder / 'specializations.json'}"
        only = [] if self.sdk.generation == "new" else ["-compile-only"]
        out = f"-aic-binary-dir={self.out}"
        return ["-aic-hw", f"-aic-hw-version={hardware}", f"-m={self.model}", "-aic-num-cores=4", flat, *only, out]

    def compile(self, *more: str, without: str = "") -> subprocess.CompletedProcess[str]:
        kept = [a for a in self.arguments if not without or not a.startswith(without)]
        return subprocess.run([self.sdk.compiler, *kept, *more], capture_output=True, text=True, cwd=self.folder)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_success(bench: Bench) -> None:
    done = bench.compile()
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == f"Generated binary is present at {bench.out}"
    assert (bench.out / "programqpc.bin").is_file()


REFUSED = {
    "unknown": (["-no-such-flag"], "", "Invalid option -no-such-flag. Use -h, -help, or --help for list of options."),
    "two dashes": (["--mos=1"], "", "Invalid option"),
    "twice": (["-aic-num-cores=2"], "", "twice"),
    "flag with value": (["-multicast-weights=1"], "", "takes no value"),
    "value missing": (["-mos"], "", "needs a value"),
    "range": (["-aic-depth-first-mem=64"], "", "out of range"),
    "word for a number": (["-ols=many"], "", "bad value"),
    "choice": (["-quantization-schema=odd"], "", "bad value"),
    "file": (["-node-precision-info=nothing.yaml"], "", "cannot open"),
    "preproc": (["-aic-preproc"], "", "can not be combined"),
    "no model": ([], "-m=", "no model"),
    "no target": ([], "-aic-hw", "-aic-hw is required"),
    "no output": ([], "-aic-binary-dir", "-aic-binary-dir is required"),
    "unbound": (["-onnx-define-symbol=seq_len,8"], "-network", "batch_size"),
    "foreign symbol": (["-onnx-define-symbol=heads,8"], "", "heads"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_bad_arguments(bench: Bench, what: str) -> None:
    more, without, text = REFUSED[what]
    done = bench.compile(*more, without=without)
    assert done.returncode == 1 and text in done.stderr
    assert not bench.out.exists()


BAD_SPECS: dict[str, list[dict[str, Any]]] = {
    "integers": [{"batch_size": 2, "seq_len": 8}],
    "partial": [{"batch_size": "2"}],
    "names": [{"name": "A", "symbols": s} for s in FLAT["specializations"]],
    "repeated": [FLAT["specializations"][0]] * 2,
    "none": [],
}


@pytest.mark.parametrize("what", BAD_SPECS)
def test_bad_specializations(bench: Bench, what: str) -> None:
    done = bench.compile(bench.spec({"specializations": BAD_SPECS[what]}), without="-network")
    assert done.returncode == 1 and done.stderr and not bench.out.exists()


def test_the_new_compiler_takes_what_it_no_longer_needs(bench: Bench) -> None:
    assert bench.compile("-compile-only").returncode == 0


def test_mxfp6_needs_fp16(bench: Bench) -> None:
    assert "needs -convert-to-fp16" in bench.compile("-mxfp6-matmul").stderr


def test_numbers_in_mxfp6() -> None:
    """By hand: the largest of a block sets its power of two, and steps are an eighth of the number's own."""
    column = np.zeros((40, 1), np.float32)
    column[:6, 0] = [7.5, 1.06, -1.9, 0.06, 0.07, 3.9]
    column[32:35, 0] = [0.75, 0.4, -1e-9]  # the second block, cut short
    expected = np.zeros_like(column)
    expected[:6, 0] = [7.5, 1.0, -1.875, 0, 0.125, 4.0]
    expected[32:35, 0] = [0.75, 0.40625, 0]
    assert np.array_equal(round_to_mxfp6(column), expected)


@given(
    npst.arrays(np.float32, npst.array_shapes(min_dims=2, max_dims=3, max_side=70), elements=st.floats(-4, 4, width=32))
)
def test_mxfp6_is_near_and_settles(weights: np.ndarray) -> None:
    once = round_to_mxfp6(weights)
    assert np.array_equal(round_to_mxfp6(once), once)
    for start in range(0, weights.shape[-2], 32):
        block, found = (a[..., start : start + 32, :] for a in (weights, once))
        largest = np.abs(block).max(axis=-2, keepdims=True)
        # 1/16 of a number of the upper octaves, 1/64 of the largest for small ones, 1/16 of it where it is cut to 7.5
        assert (np.abs(found - block) <= np.maximum(np.abs(block), largest / 4) / 16).all()


def test_each_generation_reads_its_form(tmp_path: Path) -> None:
    new, old = Bench(tmp_path / "new"), Bench(tmp_path / "old", generation="old")
    assert new.compile(new.spec(NAMED), without="-network").returncode == 0
    assert old.compile(old.spec(NAMED), without="-network").returncode == 1
    assert old.compile().returncode == 0


def test_the_old_compiler_would_run_the_model(tmp_path: Path) -> None:
    old = Bench(tmp_path, generation="old")
    assert "-compile-only" in old.compile(without="-compile-only").stderr
    assert "2.0" in old.compile("-aic-hw-version=ai100", without="-aic-hw-version").stderr


def test_symbols_on_the_command_line(bench: Bench) -> None:
    more = ["-onnx-define-symbol=batch_size,2", "-onnx-define-symbol=seq_len,8"]
    assert bench.compile(*more, without="-network").returncode == 0


def test_an_output_that_exists_is_not_overwritten(bench: Bench) -> None:
    assert bench.compile().returncode == 0
    assert "already holds a program" in bench.compile().stderr


@pytest.mark.parametrize("text", ["- IOName: nothing\n  Precision: float16", "- IOName: output\n  Precision: int3"])
def test_bad_custom_io(bench: Bench, text: str) -> None:
    (bench.folder / "io.yaml").write_text(text)
    assert bench.compile(f"-custom-IO-list-file={bench.folder / 'io.yaml'}").returncode == 1


def test_a_partition_must_fit(bench: Bench) -> None:
    path = bench.folder / "parts.json"
    for ids, cores, code in (([0, 1], 4, 0), ([0, 2], 4, 1), ([0, 1], 8, 1)):
        devices = [{"deviceId": i, "numCores": cores} for i in ids]
        path.write_text(json.dumps({"partitions": [{"name": "P", "devices": devices}]}))
        assert bench.compile(f"-mdp-load-partition-config={path}").returncode == code


def test_the_tool_prints_records(bench: Bench) -> None:
    tool = bench.sdk.root / "tools" / "qaic-util"
    done = subprocess.run([tool, "-q", "-d", "0"], capture_output=True, text=True)
    assert done.stdout.startswith("QID 0\n\tStatus:Ready\n") and "\tNsp Total:16" in done.stdout
    wrong = subprocess.run([tool, "-q", "-d", "5"], capture_output=True, text=True)
    assert wrong.returncode and wrong.stderr == "Device 5 invalid\n"


# ------------------------------------------------------------------------------------------------ runtime


def load(path: Path, name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Card:
    """A client that does each step by hand."""

    def __init__(self, sdk: FakeSdk, folder: Path) -> None:
        self.rt = load(sdk.library_folder / "qaicrt.py", "qaicrt")
        self.api = load(sdk.api_file, "QAicApi_pb2")
        self.ok = self.rt.QStatus.QS_SUCCESS
        self.context = self.rt.Context(self.rt.QIDList([0]))
        self.queue = self.rt.Queue(self.context, 0)
        self.qpc = self.rt.Qpc(str(folder))
        self.properties = self.rt.QAicProgramProperties()
        self.program = self.rt.Program(self.context, 0, self.qpc, self.properties)

    def buffers(self, length: int = 8, out: int = tiny_graphs.DIM, item: int = 8) -> tuple[Any, Any]:
        arrays = tiny_graphs.feed(length, 3)
        data = [arrays["input_ids"].tobytes(), arrays["attention_mask"].tobytes(), bytes(8 * out)]
        dims = [(item, [2, length]), (8, [2, length]), (4, [2, out])]
        return [self.rt.QBuffer(d) for d in data], self.rt.BufferDimensionsVecRef(dims)

    def start(self) -> Any:
        assert (self.program.load(), self.program.activate()) == (self.ok, self.ok)
        return self.rt.ExecObj(self.context, self.program)


@pytest.fixture
def card(tmp_path: Path) -> Card:
    bench = Bench(tmp_path, compute="digest")
    assert bench.compile().returncode == 0
    return Card(bench.sdk, bench.out)


def control(card: Card, **switches: Any) -> None:
    FakeSdk(card.rt._ROOT, "new").set(**switches)


def test_the_canonical_sequence(card: Card) -> None:
    status, blob = card.qpc.getIoDescriptor()
    with pytest.raises(TypeError):
        card.api.IoDesc().ParseFromString(blob)
    description = card.api.IoDesc()
    description.ParseFromString(bytes(blob))
    bindings = description.selected_set.bindings
    assert status == card.ok and [(b.name, b.index, b.dir, b.type) for b in bindings] == [
        ("input_ids", 0, 0, 7),
        ("attention_mask", 1, 0, 7),
        ("output", 2, 1, 0),
    ]
    assert [[s.dims for s in entry.shapes][0] for entry in description.allowed_shapes] == [[2, 8], [2, 16]]
    obj = card.start()
    assert obj.setData(*card.buffers()) == card.queue.enqueue(obj) == obj.waitForCompletion() == card.ok
    status, outputs = obj.getData()
    assert status == card.ok and len(bytes(outputs[2])) == 8 * tiny_graphs.DIM
    assert np.frombuffer(bytes(outputs[2]), np.float32).any()
    del obj
    assert card.program.deactivate() == card.ok


def test_cores_are_counted(card: Card) -> None:
    def free() -> int:
        return int(card.rt.Util().getDeviceInfo(0)[1].devData.resourceInfo.nspFree)

    assert free() == 16
    obj = card.start()
    assert card.program.activate() == card.ok and free() == 12
    assert card.program.deactivate() == card.rt.QStatus.QS_INVAL  # an ExecObj lives
    del obj
    assert card.program.deactivate() == card.ok and free() == 16
    control(card, devices=[{"qid": 0, "status": "Ready", "nsp_total": 16, "busy": 13}])
    assert card.program.activate() != card.ok
    with pytest.raises(RuntimeError, match="QAIC_ERROR_NSP_ALLOC_FAILED"):
        card.rt.ExecObj(card.context, card.program)


def test_wrong_order_of_calls(card: Card) -> None:
    invalid = card.rt.QStatus.QS_INVAL
    obj = card.start()
    assert card.queue.enqueue(obj) == invalid and obj.waitForCompletion() == invalid
    assert obj.getData() == (invalid, [])
    control(card, device_time_ms=200)
    assert obj.setData(*card.buffers()) == card.queue.enqueue(obj) == card.ok
    assert card.queue.enqueue(obj) == card.rt.QStatus.QS_BUSY
    assert obj.getData() == (invalid, [])
    assert obj.waitForCompletion() == card.ok


def test_an_inactive_program_takes_no_data(card: Card) -> None:
    obj = card.start()
    card.program.active = False
    assert obj.setData(*card.buffers()) == card.rt.QStatus.QS_INVAL


@pytest.mark.parametrize("wrong", [{"length": 9}, {"out": 3}, {"item": 4}])
def test_wrong_dims_are_told_at_the_end(card: Card, wrong: dict[str, int]) -> None:
    obj = card.start()
    assert obj.setData(*card.buffers(**wrong)) == card.queue.enqueue(obj) == card.ok
    assert obj.waitForCompletion() == card.rt.QStatus.QS_ERROR


def test_a_buffer_that_is_too_large(card: Card) -> None:
    obj = card.start()
    buffers, dims = card.buffers()
    buffers[0] = card.rt.QBuffer(bytes(2 * 17 * 8))
    assert obj.setData(buffers, dims) == card.rt.QStatus.QS_ERROR


def test_a_wait_concerns_its_own_object(card: Card) -> None:
    control(card, out_of_order=True, device_time_ms=50)
    objects = [card.start() for _ in range(3)]
    for obj in objects:
        assert obj.setData(*card.buffers()) == card.queue.enqueue(obj) == card.ok
    assert [obj.waitForCompletion() for obj in reversed(objects)] == [card.ok] * 3


def test_device_time(card: Card) -> None:
    obj = card.start()
    control(card, device_time_ms=150)
    start = time.monotonic()
    assert obj.setData(*card.buffers()) == card.queue.enqueue(obj) == obj.waitForCompletion() == card.ok
    assert 0.15 <= time.monotonic() - start < 2


def pairs(length: int = 8, out: int = tiny_graphs.DIM) -> list[tuple[int, np.ndarray]]:
    arrays = tiny_graphs.feed(length, 3)
    return [*enumerate(arrays.values()), (2, np.full((2, out), np.nan, np.float32))]


def run_in_place(card: Card, data: list[tuple[int, Any]]) -> Any:
    obj = card.start()
    status = obj.setData(data)
    return status if status != card.ok else card.queue.enqueue(obj) == card.ok and obj.waitForCompletion()


def test_arrays_are_used_in_place(card: Card) -> None:
    data = pairs()
    assert run_in_place(card, data) == card.ok
    obj = card.start()
    assert obj.setData(*card.buffers()) == card.queue.enqueue(obj) == obj.waitForCompletion() == card.ok
    assert data[2][1].tobytes() == bytes(obj.getData()[1][2])


def test_what_the_form_in_place_refuses(card: Card) -> None:
    wrong, invalid, whole = card.rt.QStatus.QS_ERROR, card.rt.QStatus.QS_INVAL, pairs()
    still = np.zeros((2, tiny_graphs.DIM), np.float32)
    still.flags.writeable = False
    assert run_in_place(card, pairs(9)) == run_in_place(card, pairs(out=3)) == run_in_place(card, whole[1:]) == wrong
    for data in ([*whole[:2], (3, whole[2][1])], [*whole, whole[0]], [*whole[:2], (2, still)]):
        assert run_in_place(card, data) == invalid
    assert run_in_place(card, [(0, whole[0][1].astype(np.int32)), *whole[1:]]) == invalid
    for bad in (np.asfortranarray(whole[0][1]), [1]):
        with pytest.raises(TypeError):
            run_in_place(card, [(0, bad), *whole[1:]])


def test_an_array_that_is_freed_too_early_shows(card: Card) -> None:
    control(card, device_time_ms=50)
    obj, data = card.start(), pairs()
    assert obj.setData(data) == card.queue.enqueue(obj) == card.ok
    del data
    with pytest.raises(RuntimeError, match="freed an array"):
        obj.waitForCompletion()


def test_the_old_generation_takes_buffers_only(card: Card) -> None:
    control(card, generation="old")
    with pytest.raises(TypeError):
        card.start().setData(pairs())


@pytest.fixture
def echo(tmp_path: Path) -> Card:
    bench = Bench(tmp_path / "echo", compute="echo", device_time_ms=20)
    assert bench.compile().returncode == 0
    return Card(bench.sdk, bench.out)


def test_echo_takes_its_time_and_counts_it(echo: Card) -> None:
    objects, results = [echo.start() for _ in range(3)], [pairs(), pairs(8), pairs(7)]
    results[2] = [(i, np.pad(a, ((0, 0), (0, 1))) if i < 2 else a) for i, a in results[2]]
    start = time.monotonic()
    for obj, data in zip(objects, results, strict=True):
        assert obj.setData(data) == echo.queue.enqueue(obj) == echo.ok
    assert [obj.waitForCompletion() for obj in objects] == [echo.ok] * 3
    assert 0.06 <= time.monotonic() - start < 0.5  # one after the other
    same, again, other = (data[2][1] for data in results)
    assert np.array_equal(same, again) and not (same[0] == other[0]).any() and len(np.unique(same)) == same.size
    found = echo.rt.report()
    assert found["devices"][0]["inferences"] == found["devices"][0]["most_in_flight"] == 3
    assert found["devices"][0]["busy_seconds"] == pytest.approx(0.06) and 0 < found["cpu_seconds"] < 0.06


@pytest.mark.parametrize("compute", ["digest", "echo"])
def test_a_device_that_fails_for_good(card: Card, echo: Card, compute: str) -> None:
    card = card if compute == "digest" else echo
    control(card, fail_after={"0": 2}, device_time_ms=20)
    objects = [card.start() for _ in range(4)]
    for obj in objects:
        assert obj.setData(*card.buffers()) == card.queue.enqueue(obj) == card.ok
    gone = card.rt.QStatus.QS_DEV_ERROR
    assert sorted(obj.waitForCompletion().value for obj in objects) == [0, 0, gone.value, gone.value]
    assert card.queue.enqueue(objects[0]) == gone


def test_poison_fails_where_it_is(card: Card) -> None:
    control(card, poison=-1)
    data = pairs()
    assert run_in_place(card, data) == card.ok
    data[0][1][0, 0] = -1
    assert run_in_place(card, data) == card.rt.QStatus.QS_ERROR


def test_what_constructors_refuse(card: Card) -> None:
    rt = card.rt
    with pytest.raises(RuntimeError):
        rt.Qpc(str(card.qpc.folder / "programqpc.bin"))
    with pytest.raises(RuntimeError):
        rt.Qpc(str(card.qpc.folder.parent))
    with pytest.raises(RuntimeError):
        rt.Context(rt.QIDList([7]))
    for call in (
        lambda: rt.Context([0]),
        lambda: rt.Qpc(card.qpc.folder),
        lambda: rt.Program(card.context, 0, card.qpc),
        lambda: rt.Program(card.context, "0", card.qpc, card.properties),
        lambda: rt.ExecObj(card.program, card.context),
        lambda: rt.QBuffer("text"),
        lambda: rt.Context(ids=rt.QIDList([0])),
    ):
        with pytest.raises(TypeError):
            call()
    assert rt.Program(card.context, 0, qpcObj=card.qpc, props=card.properties).load() == card.ok


@pytest.mark.parametrize(
    ("generation", "has", "lacks"),
    [("new", "dataPathTimeoutMs", "SubmitRetryTimeoutMs"), ("old", "SubmitRetryTimeoutMs", "dataPathTimeoutMs")],
)
def test_timeout_properties(tmp_path: Path, generation: str, has: str, lacks: str) -> None:
    sdk = make_sdk(tmp_path, generation=generation)
    properties = load(sdk.library_folder / "qaicrt.py", "qaicrt").QAicProgramProperties()
    setattr(properties, has, 100)
    assert properties.timeout_seconds() == 0.1
    with pytest.raises(AttributeError):
        setattr(properties, lacks, 100)


def test_references_keep_a_program_alive(card: Card) -> None:
    obj, queue, buffers = card.start(), card.queue, card.buffers()
    ok = card.ok
    del card.program, card.context, card.qpc
    assert obj.setData(*buffers) == queue.enqueue(obj) == obj.waitForCompletion() == ok


def test_utility(card: Card) -> None:
    util = card.rt.Util()
    assert util.getDeviceIds() == (card.ok, [0]) and util.checkLibraryVersion() == card.ok
    assert util.getDeviceInfo(3)[0] == card.rt.QStatus.QS_NODEV
    megabytes = util.getDeviceInfo(0)[1].devData.resourceInfo.dramTotal
    control(card, dram_unit="KB")
    assert util.getDeviceInfo(0)[1].devData.resourceInfo.dramTotal == 1024 * megabytes
    control(card, devices=[])
    assert util.getDeviceIds()[0] == card.rt.QStatus.QS_NODEV


def test_no_thread_is_left(card: Card) -> None:
    obj = card.start()
    assert obj.setData(*card.buffers()) == card.queue.enqueue(obj) == obj.waitForCompletion() == card.ok
    del obj, card.queue
    for _ in range(100):
        if not [thread for thread in threading.enumerate() if thread.name.startswith("fake-qaic")]:
            break
        time.sleep(0.02)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("fake-qaic")]
