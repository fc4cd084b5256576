"""Running programs through the fake runtime: numbers, every failing step, threads, forks and devices."""

from __future__ import annotations

import gc
import multiprocessing
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from QEfficient.backends.qaic import QaicBackend, native
from QEfficient.backends.qaic.sdk import Sdk
from QEfficient.backends.qaic.session import SLOTS, QaicSession
from QEfficient.errors import BackendUnavailableError, DeviceError, OptionError, StaleProgramError, UsageError
from QEfficient.inference.loaded_program import LoadedProgram
from QEfficient.records import MODEL, Program, Shape, TensorSpec
from tests import tiny_graphs
from tests.backends.qaic.conftest import LONG, SHORT, Compile, Remembering
from tests.sdk import FakeSdk, make_sdk

ROWS = tiny_graphs.feed(8, 5)


def free_cores(sdk: FakeSdk) -> dict[int, int | None]:
    return {device.id: device.free_cores for device in native.devices(Sdk(sdk.root))}


# ------------------------------------------------------------------------------------------------ numbers


def test_fp16_is_near_and_fp32_equal(backend: QaicBackend, compile_model: Compile, model: Any) -> None:
    expected = tiny_graphs.reference(model, ROWS)
    scale = np.abs(expected).max()
    errors = {}
    for compute in ("fp16", "fp32"):
        with backend.open(compile_model(name=compute, compute=compute)) as session:
            errors[compute] = np.abs(session.run(ROWS)["output"] - expected).max() / scale
    assert 1e-5 < errors["fp16"] < 1e-2
    assert errors["fp32"] < 1e-6


def test_mxfp6_rounds_the_weights_of_matrix_products(backend: QaicBackend, compile_model: Compile, model: Any) -> None:
    expected = tiny_graphs.reference(model, ROWS)
    scale = np.abs(expected).max()
    errors = {}
    for name, on in (("half", False), ("six", True)):
        with backend.open(compile_model(name=name, mxfp6_matmul=on)) as session:
            errors[name] = np.abs(session.run(ROWS)["output"] - expected).max() / scale
    assert 5 * errors["half"] < errors["six"] < 0.25


def test_mxfp6_is_for_fp16(compile_model: Compile) -> None:
    with pytest.raises(OptionError, match="mxfp6_matmul"):
        compile_model(compute="fp32", mxfp6_matmul=True)


def test_a_node_precision_file_has_its_effect(
    backend: QaicBackend, compile_model: Compile, model: Any, tmp_path: Path
) -> None:
    nodes = tmp_path / "nodes.yaml"
    nodes.write_text("FP32NodeInstanceNames: [scores, biased, weights, attended, states, total, output]\n")
    results = []
    for name, options in (("all", {}), ("some", {"node_precision_info": nodes})):
        with backend.open(compile_model(name=name, **options)) as session:
            results.append(session.run(ROWS)["output"])
    assert not np.array_equal(*results)


@pytest.mark.parametrize("dims", ["largest", "first"])
@pytest.mark.parametrize("pooled", [True, False])
def test_output_sizes_are_those_of_the_shape(
    sdk: FakeSdk, backend: QaicBackend, compile_model: Compile, tmp_path: Path, dims: str, pooled: bool
) -> None:
    sdk.set(binding_dims=dims)
    graph = tiny_graphs.make(tmp_path / "other", pooled=pooled)
    with backend.open(compile_model(SHORT, LONG, graph=graph)) as session:
        for bucket in (LONG, SHORT, LONG):
            arrays = tiny_graphs.feed(bucket.length, 3)
            expected = tiny_graphs.reference(graph, arrays)
            found = session.run(arrays)["output"]
            assert found.shape == expected.shape and np.abs(found - expected).max() < 0.05


def test_one_shape_has_no_list_of_shapes(backend: QaicBackend, compile_model: Compile, model: Any) -> None:
    with backend.open(compile_model(SHORT)) as session:
        assert np.abs(session.run(ROWS)["output"] - tiny_graphs.reference(model, ROWS)).max() < 0.05


def test_a_float16_output_is_handed_on_as_the_manifest_says(
    backend: QaicBackend, compile_model: Compile, tmp_path: Path
) -> None:
    file = tmp_path / "io.yaml"
    file.write_text(" - IOName: output\n   Precision: float16\n")
    with backend.open(compile_model(custom_IO_list_file=file)) as session:
        found = session.run(ROWS)["output"]
        assert found.dtype == np.float32 and np.array_equal(found, found.astype(np.float16))


def test_a_scaled_int8_output_is_refused(backend: QaicBackend, compile_model: Compile, tmp_path: Path) -> None:
    """Its numbers mean nothing without their scale."""
    file = tmp_path / "io.yaml"
    file.write_text(" - IOName: output\n   Precision: int8\n   Scale: 0.1\n   Offset: 0\n")
    with pytest.raises(DeviceError, match="scaled int8") as caught:
        backend.open(compile_model(custom_IO_list_file=file))
    assert "custom_IO_list_file" in str(caught.value.do)


def test_results_are_a_function_of_the_real_tokens(sdk: FakeSdk, backend: QaicBackend, compile_model: Compile) -> None:
    sdk.set(compute="digest")
    with backend.open(compile_model()) as session:
        short = tiny_graphs.feed(5, 8)
        long = {name: np.pad(array, ((0, 0), (0, 8))) for name, array in short.items()}
        assert np.array_equal(session.run(short)["output"], session.run(long)["output"])


# ------------------------------------------------------------------------------------------------ failures

STEPS = {
    "getIoDescriptor": "open",
    "load": "open",
    "activate": "open",
    "setData": "run",
    "enqueue": "run",
    "waitForCompletion": "run",
    "getData": "run",
    "deactivate": "close",
}
IN_PLACE = ("setData", "enqueue", "waitForCompletion")  # steps of a run whose arrays are used in place


@pytest.mark.parametrize(("step", "in_place"), [(s, p) for s in STEPS for p in (False, True) if not p or s in IN_PLACE])
def test_every_status_is_checked(
    sdk: FakeSdk, backend: QaicBackend, program: Program, step: str, in_place: bool
) -> None:
    sdk.set(in_place=in_place)
    when = STEPS[step]
    if when == "open":
        sdk.set(status={step: "QS_DEV_ERROR"})
    with pytest.raises(DeviceError) as caught:
        session = backend.open(program)
        expected = session.run(ROWS)["output"]
        sdk.set(status={step: "QS_DEV_ERROR"})
        session.run(ROWS) if when == "run" else session.close()
    assert caught.value.status == "QS_DEV_ERROR" and caught.value.do
    sdk.set(status={})
    if when == "run":
        assert np.array_equal(session.run(ROWS)["output"], expected)  # still usable
        session.close()
    if when != "close":
        gc.collect()
        assert free_cores(sdk) == {0: 16}


def test_a_step_that_throws_instead(sdk: FakeSdk, backend: QaicBackend, program: Program) -> None:
    sdk.set(in_place=False)
    with backend.open(program) as session:
        expected = session.run(ROWS)["output"]
        for step in ("QBuffer", "setData", "enqueue", "waitForCompletion", "getData"):
            sdk.set(throw={step: "Runtime Exception: told to"})
            with pytest.raises(DeviceError, match="told to"):
                session.run(ROWS)
            sdk.set(throw={})
            assert np.array_equal(session.run(ROWS)["output"], expected)


def test_a_busy_device(sdk: FakeSdk, backend: QaicBackend, program: Program) -> None:
    with backend.open(program) as session:
        sdk.set(status={"enqueue": "QS_BUSY"})
        with pytest.raises(DeviceError, match="QS_BUSY"):
            session.run(ROWS)


@pytest.mark.parametrize("late", [False, True])
def test_too_few_free_cores(sdk: FakeSdk, backend: QaicBackend, program: Program, late: bool) -> None:
    sdk.set(devices=[{"qid": 0, "status": "Ready", "nsp_total": 16, "busy": 13}], late_nsp_failure=late)
    with pytest.raises(DeviceError) as caught:
        backend.open(program)
    assert "cores" in str(caught.value.do)
    assert ("QAIC_ERROR_NSP_ALLOC_FAILED" in str(caught.value)) == late
    sdk.set(devices=[{"qid": 0, "status": "Ready", "nsp_total": 16, "busy": 12}])
    with backend.open(program) as session:
        assert free_cores(sdk) == {0: 0}
        session.run(ROWS)


@pytest.mark.parametrize("what", ["Context", "Queue", "Qpc", "Program", "ExecObj"])
def test_constructors_that_throw(sdk: FakeSdk, backend: QaicBackend, program: Program, what: str) -> None:
    sdk.set(throw={what: "Initialization Exception: told to"})
    with pytest.raises(DeviceError, match="told to"):
        backend.open(program)
    sdk.set(throw={})
    assert free_cores(sdk) == {0: 16}
    with backend.open(program) as session:
        session.run(ROWS)


@pytest.mark.parametrize(
    ("switches", "buckets"), [({"wrong_size": True}, (SHORT,)), ({"wrong_type": True}, (SHORT, LONG))]
)
def test_a_program_that_contradicts_itself(
    sdk: FakeSdk, backend: QaicBackend, compile_model: Compile, switches: dict[str, Any], buckets: Any
) -> None:
    sdk.set(**switches)
    with pytest.raises(DeviceError, match="contradicts itself"):
        backend.open(compile_model(*buckets))


@pytest.mark.parametrize("damage", ["header", "cut", "absent"])
def test_a_damaged_binary(backend: QaicBackend, program: Program, damage: str) -> None:
    assert program.binary_path
    file = program.binary_path / "programqpc.bin"
    data = file.read_bytes()
    file.unlink()
    if damage != "absent":
        file.write_bytes(b"x" + data[1:] if damage == "header" else data[:-9])
    with pytest.raises(DeviceError, match=r"programqpc\.bin|Failed to open QPC"):
        backend.open(program)


@pytest.mark.parametrize(
    "change",
    [
        {"outputs": (TensorSpec("logits", "float32", ("batch_size", 2)),)},
        {"outputs": (TensorSpec("output", "int64", ("batch_size", tiny_graphs.DIM)),)},
        {"outputs": (TensorSpec("output", "float32", ("batch_size", 3)),)},
        {"inputs": (TensorSpec("input_ids", "int64", ("batch_size", "seq_len")),)},
        {"shapes": (Shape(9, SHORT.batch),)},
    ],
)
def test_a_manifest_of_another_program(
    sdk: FakeSdk, backend: QaicBackend, program: Program, change: dict[str, Any]
) -> None:
    graphs = {MODEL: replace(program.manifest.graph, **change)}
    with pytest.raises(DeviceError, match="disagree"):
        backend.open(replace(program, manifest=replace(program.manifest, graphs=graphs)))
    assert free_cores(sdk) == {0: 16}


def test_a_short_result_is_never_returned(sdk: FakeSdk, backend: QaicBackend, program: Program) -> None:
    sdk.set(in_place=False)
    with backend.open(program) as session:
        sdk.set(short_output=True)
        with pytest.raises(DeviceError, match="buffer of another size"):
            session.run(ROWS)


@pytest.mark.parametrize("generation", ["new", "old"])
def test_a_device_that_takes_too_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runner: Remembering, generation: str
) -> None:
    """The timeout reaches the device under the name that its SDK knows."""
    sdk = make_sdk(tmp_path / generation, generation=generation, compute="digest")
    backend = QaicBackend(sdk=Sdk(sdk.root), runner=runner, timeout_ms=200, slots=1)
    model = tiny_graphs.make(tmp_path / "graph")
    (tmp_path / "program").mkdir()
    from QEfficient.records import CompileOptions, Target

    program = backend.compile(
        {MODEL: model}, {MODEL: [SHORT]}, Target("qaic", "fp16", 4), CompileOptions(), tmp_path / "program"
    )
    with backend.open(program) as session:
        sdk.set(device_time_ms=1000)
        start = time.monotonic()
        with pytest.raises(DeviceError) as caught:
            session.run(ROWS)
        assert caught.value.status == "QS_TIMEDOUT" and 0.2 <= time.monotonic() - start < 0.9
        sdk.set(device_time_ms=0)
        time.sleep(1)  # the card finishes what nobody waits for
        assert session.run(ROWS)["output"].shape == (2, tiny_graphs.DIM)


def test_what_the_card_does_not_write_is_no_number(sdk: FakeSdk, backend: QaicBackend, program: Program) -> None:
    with backend.open(program) as session:
        sdk.set(short_output=True)
        found = session.run(ROWS)["output"]
        assert np.isnan(found[-1, -1]) and np.isfinite(found).sum() == found.size - 1


def test_a_session_that_loses_its_device_says_so(sdk: FakeSdk, backend: QaicBackend, program: Program) -> None:
    session = backend.open(program)
    sdk.set(status={"waitForCompletion": "QS_DEV_ERROR"}, throw={"ExecObj": "device is gone"})
    for _ in range(SLOTS):
        with pytest.raises(DeviceError, match="QS_DEV_ERROR"):
            session.run(ROWS)
    with pytest.raises(DeviceError, match="lost its device"):
        session.run(ROWS)
    session.close()


def test_the_error_inside_is_the_one_that_shows(sdk: FakeSdk, backend: QaicBackend, program: Program) -> None:
    with pytest.raises(KeyError), backend.open(program):
        sdk.set(status={"deactivate": "QS_ERROR"})
        raise KeyError("mine")


# ------------------------------------------------------------------------------------------------ opening


def test_another_sdk_version_is_refused_with_both_and_the_way(
    sdk: FakeSdk, backend: QaicBackend, program: Program
) -> None:
    sdk.set_version("1.23.0")
    with pytest.raises(StaleProgramError) as caught:
        backend.open(program)
    text = str(caught.value)
    assert "1.22.0" in text and "1.23.0" in text and "model.compile(" in text and str(program.onnx_path) in text


@pytest.mark.parametrize("devices", [[], [{"qid": 0, "status": "Error", "nsp_total": 16, "busy": 0}]])
def test_no_device_offers_the_host(sdk: FakeSdk, backend: QaicBackend, program: Program, devices: Any) -> None:
    sdk.set(devices=devices)
    with pytest.raises(BackendUnavailableError) as caught:
        backend.open(program)
    assert f"from_pretrained({str(program.path)!r}, backend='onnxruntime')" in str(caught.value.do)


def test_a_host_program_is_refused(backend: QaicBackend, program: Program) -> None:
    host = replace(program.manifest, target=replace(program.manifest.target, backend="onnxruntime"))
    with pytest.raises(OptionError, match="onnxruntime"):
        backend.open(replace(program, manifest=host))


# ------------------------------------------------------------------------------------------------ devices


def test_several_devices_hold_one_program(sdk: FakeSdk, backend: QaicBackend, compile_model: Compile) -> None:
    sdk.set(devices=[{"qid": i, "status": "Ready", "nsp_total": 16, "busy": 0} for i in (0, 1, 4, 5)])
    with backend.open(compile_model(devices=2), [4, 1]) as session:
        assert session.report()["devices"] == [[4, 1]]
        assert free_cores(sdk) == {0: 16, 1: 12, 4: 12, 5: 16}
        assert session.run(ROWS)["output"].shape == (2, tiny_graphs.DIM)
    assert set(free_cores(sdk).values()) == {16}


def test_device_groups_are_replicas_and_share_the_work(
    sdk: FakeSdk, backend: QaicBackend, compile_model: Compile
) -> None:
    sdk.set(devices=[{"qid": i, "status": "Ready", "nsp_total": 16, "busy": 0} for i in range(4)])
    with backend.open(compile_model(devices=2), [0, 1, 2, 3]) as session:
        assert session.report()["devices"] == [[0, 1], [2, 3]] and session.report()["slots"] == 2 * SLOTS
        assert set(free_cores(sdk).values()) == {12}
        expected = session.run(ROWS)["output"]
        sdk.set(device_time_ms=5)
        futures = [session.submit(ROWS) for _ in range(20)]
        assert all(np.array_equal(future.result()["output"], expected) for future in futures)
        runs = session.report()["runs"]
        assert sum(runs) == 21 and min(runs) >= 8


def test_replicas_work_side_by_side(sdk: FakeSdk, backend: QaicBackend, compile_model: Compile) -> None:
    sdk.set(compute="digest", devices=[{"qid": i, "status": "Ready", "nsp_total": 16, "busy": 0} for i in range(2)])
    program = compile_model()
    times = []
    for ids in ([0], [0, 1]):
        with backend.open(program, ids) as session:
            sdk.set(device_time_ms=50)
            start = time.monotonic()
            for future in [session.submit(ROWS) for _ in range(12)]:
                future.result(timeout=60)
            times.append(time.monotonic() - start)
            sdk.set(device_time_ms=0)
    assert times[0] > 0.6 and times[1] < 0.8 * times[0]


def test_no_ids_and_partial_groups_are_refused(sdk: FakeSdk, backend: QaicBackend, program: Program) -> None:
    for ids in ([], [0, 7]):
        with pytest.raises((OptionError, DeviceError)):
            backend.open(program, ids)
    assert free_cores(sdk) == {0: 16}


def test_a_session_that_was_handed_out_ends_with_other_devices(
    sdk: FakeSdk, backend: QaicBackend, program: Program
) -> None:
    sdk.set(devices=[{"qid": i, "status": "Ready", "nsp_total": 16, "busy": 0} for i in range(2)])
    loaded = LoadedProgram(program, backend, "a test")
    with loaded.session([0]) as session:
        expected = session.run(ROWS)["output"]
    handed_out = loaded.handed_out()
    assert handed_out.report()["devices"] == [[0]] and np.array_equal(handed_out.run(ROWS)["output"], expected)
    sdk.set(device_time_ms=100)
    future = handed_out.submit(ROWS)
    with loaded.session([1]) as session:  # what was begun on the others ends first
        assert future.done() and np.array_equal(future.result()["output"], expected)
        with pytest.raises(UsageError, match="qpc_session"):
            handed_out.run(ROWS)
    assert free_cores(sdk) == {0: 16, 1: 12}
    loaded.close()
    assert free_cores(sdk) == {0: 16, 1: 16}


def test_another_process_load_is_avoided(sdk: FakeSdk, backend: QaicBackend, program: Program) -> None:
    sdk.set(devices=[{"qid": i, "status": "Ready", "nsp_total": 16, "busy": 14 if i == 0 else 0} for i in range(2)])
    with backend.open(program) as session:
        assert session.report()["devices"] == [[1]]


# ------------------------------------------------------------------------------------------------ many at once


@pytest.mark.parametrize("out_of_order", [False, True])
def test_eight_threads_equal_one(sdk: FakeSdk, backend: QaicBackend, program: Program, out_of_order: bool) -> None:
    feeds = [tiny_graphs.feed(1 + n % 8, 8, seed=n) for n in range(50)]
    with backend.open(program) as session:
        serial = [session.run(feed)["output"] for feed in feeds]
        sdk.set(out_of_order=out_of_order, device_time_ms=1)

        def work(thread: int) -> bool:
            order = np.random.default_rng(thread).permutation(50)
            return all(np.array_equal(session.run(feeds[i])["output"], serial[i]) for i in order)

        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(work, range(8)))
        assert session.report()["slots"] == SLOTS


def test_close_from_many_threads(backend: QaicBackend, program: Program, sdk: FakeSdk) -> None:
    session = backend.open(program)
    futures = [session.submit(ROWS) for _ in range(10)]
    threads = [threading.Thread(target=session.close) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({future.result(timeout=30)["output"].tobytes() for future in futures}) == 1
    assert free_cores(sdk) == {0: 16}


def test_close_waits_for_a_run_of_another_thread(sdk: FakeSdk, backend: QaicBackend, program: Program) -> None:
    session = backend.open(program)
    expected = session.run(ROWS)["output"]
    sdk.set(device_time_ms=400)
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(session.run, ROWS)
        while not native.load(Sdk(sdk.root)).qaicrt.card.device(0)[2]:
            time.sleep(0.005)
        session.close()
        assert future.done() and np.array_equal(future.result()["output"], expected)
    assert free_cores(sdk) == {0: 16}


def child_result(session: QaicSession) -> Any:
    """What a forked child gets from ``session``: its result, or the error's text."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)

    def child() -> None:
        try:
            sender.send(session.run(ROWS)["output"])
        except DeviceError as error:
            sender.send(str(error))
        session.close()

    process = context.Process(target=child)
    process.start()
    try:
        assert receiver.poll(timeout=60)
        result = receiver.recv()
        process.join(timeout=60)
        assert process.exitcode == 0
        return result
    finally:
        process.kill()


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")  # Python 3.12, about any fork
@pytest.mark.parametrize("busy", [0, 10])
def test_a_forked_child_opens_its_own(sdk: FakeSdk, backend: QaicBackend, program: Program, busy: int) -> None:
    sdk.set(devices=[{"qid": 0, "status": "Ready", "nsp_total": 16, "busy": busy}])
    with backend.open(program) as session:
        expected = session.run(ROWS)["output"]
        session.submit(ROWS).result(timeout=60)
        result = child_result(session)
        if busy:  # the parent still holds its four cores: two are left
            assert "free cores" in result
        else:
            assert np.array_equal(result, expected)
        assert np.array_equal(session.run(ROWS)["output"], expected)


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_fork_while_another_thread_holds_the_lock(backend: QaicBackend, program: Program) -> None:
    with backend.open(program) as session:
        expected = session.run(ROWS)["output"]
        with session._lock:
            assert np.array_equal(child_result(session), expected)


def test_a_session_that_is_dropped_frees_nothing_twice(sdk: FakeSdk, backend: QaicBackend, program: Program) -> None:
    session = backend.open(program)
    session.close()
    session.close()
    del session
    gc.collect()
    with backend.open(program) as again:
        assert again.run(ROWS)["output"].shape == (2, tiny_graphs.DIM)
    assert free_cores(sdk) == {0: 16}
