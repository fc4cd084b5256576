"""``QAICInferenceSession`` under its known name and signature."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from QEfficient import program as programs
from QEfficient.errors import DeviceError, InputError, LoadError, OptionError, StaleProgramError
from QEfficient.generation.cloud_infer import QAICInferenceSession
from QEfficient.records import Program
from tests import tiny_graphs
from tests.backends.qaic.conftest import LONG, SHORT, Compile
from tests.sdk import FakeSdk

ROWS = tiny_graphs.feed(8, 5)


@pytest.fixture
def session(program: Program) -> QAICInferenceSession:
    return QAICInferenceSession(str(program.binary_path))


def test_what_it_says_of_the_program(session: QAICInferenceSession) -> None:
    assert session.input_names == ["input_ids", "attention_mask"] and session.output_names == ["output"]
    assert session.binding_index_map == {"input_ids": 0, "attention_mask": 1, "output": 2}
    assert [binding.name for binding in session.bindings] == list(session.binding_index_map)
    assert session.allowed_shapes == [
        [(8, [2, 8]), (8, [2, 8]), (4, [2, tiny_graphs.DIM])],
        [(8, [2, 16]), (8, [2, 16]), (4, [2, tiny_graphs.DIM])],
    ]
    assert session.is_active


def test_it_equals_the_session(session: QAICInferenceSession, backend: Any, program: Program) -> None:
    with backend.open(program) as other:
        for arrays in (ROWS, tiny_graphs.feed(16, 3), ROWS):
            assert np.array_equal(session.run(arrays)["output"], other.run(arrays)["output"])


def test_a_bare_folder_and_a_programs_folder(backend: Any, program: Program, tmp_path: Path) -> None:
    assert program.binary_path
    shutil.copytree(program.binary_path, tmp_path / "bare")
    programs.write(program)
    results = []
    for path in (tmp_path / "bare", program.path, program.binary_path):
        one = QAICInferenceSession(path)
        results.append(one.run(ROWS)["output"].tobytes())
        one.deactivate()
    assert len(set(results)) == 1
    for wrong in (tmp_path, program.binary_path / "programqpc.bin"):
        with pytest.raises(LoadError, match=r"programqpc\.bin"):
            QAICInferenceSession(wrong)


def test_buffers_stay_set(session: QAICInferenceSession) -> None:
    whole = session.run(ROWS)["output"]
    ids = tiny_graphs.feed(8, 5, seed=1)["input_ids"]
    second = session.run({"input_ids": ids})["output"]  # the mask is the one of before
    assert not np.array_equal(whole, second)
    assert np.array_equal(second, session.run({**ROWS, "input_ids": ids})["output"])
    session.set_buffers(ROWS)
    assert np.array_equal(session.run({})["output"], whole)


def test_a_change_of_shape_needs_every_buffer(session: QAICInferenceSession) -> None:
    session.run(ROWS)
    longer = tiny_graphs.feed(16, 3)
    with pytest.raises(InputError) as caught:
        session.run({"input_ids": longer["input_ids"]})
    assert "(2, 16)" in str(caught.value) and "each buffer" in str(caught.value.do)
    assert session.run(longer)["output"].shape == (2, tiny_graphs.DIM)


def test_the_caller_may_size_an_output(session: QAICInferenceSession) -> None:
    expected = session.run(ROWS)["output"]
    session.set_buffers({"output": np.zeros((2, tiny_graphs.DIM), np.float32)})
    assert np.array_equal(session.run(ROWS)["output"], expected)
    session.set_buffers({"output": np.zeros((2, 3), np.float32)})
    with pytest.raises(InputError, match=r"\(2, 3\)"):
        session.run(ROWS)


def test_skipped_buffers(session: QAICInferenceSession, compile_model: Compile) -> None:
    session.skip_buffers(["output"])
    assert session.run(ROWS) == {}
    single = compile_model(SHORT, name="single")
    with pytest.raises(InputError, match="needs the buffer"):
        QAICInferenceSession(single.path / "qpc").skip_buffers(["output"])


def test_an_empty_array_skips_its_buffer(session: QAICInferenceSession, compile_model: Compile) -> None:
    session.set_buffers({"output": np.zeros((0, 3), np.float32)})
    assert session.run(ROWS) == {}
    session.deactivate()
    single = QAICInferenceSession(compile_model(SHORT, name="single").path / "qpc")
    with pytest.raises(InputError, match="needs the buffer"):
        single.set_buffers({"input_ids": np.zeros(0, np.int64)})
    expected = single.run(ROWS)["output"]
    with pytest.raises(InputError, match="needs the buffer"):
        single.run({"input_ids": np.zeros(0, np.int64)})
    assert np.array_equal(single.run({})["output"], expected)


def test_a_float16_output_stays_float16(compile_model: Compile, tmp_path: Path) -> None:
    file = tmp_path / "io.yaml"
    file.write_text(" - IOName: output\n   Precision: float16\n")
    session = QAICInferenceSession(compile_model(custom_IO_list_file=file).path / "qpc")
    assert session.run(ROWS)["output"].dtype == np.float16
    assert session.allowed_shapes[0][2] == (2, [2, tiny_graphs.DIM])


def test_a_program_of_another_sdk_is_refused(sdk: FakeSdk, program: Program) -> None:
    programs.write(program)
    sdk.set_version("1.23.0")
    with pytest.raises(StaleProgramError, match=r"1\.22\.0.*1\.23\.0"):
        QAICInferenceSession(program.path)


def test_results_belong_to_the_caller(session: QAICInferenceSession) -> None:
    first = session.run(ROWS)["output"]
    kept = first.copy()
    first[:] = 0
    assert np.array_equal(session.run(ROWS)["output"], kept)


@pytest.mark.parametrize(
    "arrays",
    [
        {"input_idz": np.zeros(1)},
        {"input_ids": np.zeros((2, 8), np.int32)},
        {"output": np.zeros(2)},
        {"input_ids": [[1]]},
    ],
)
def test_wrong_buffers_change_nothing(session: QAICInferenceSession, arrays: dict[str, Any]) -> None:
    expected = session.run(ROWS)["output"]
    with pytest.raises(InputError):
        session.run(arrays)
    assert np.array_equal(session.run({})["output"], expected)


def test_activate_and_deactivate(sdk: FakeSdk, program: Program) -> None:
    session = QAICInferenceSession(program.path / "qpc", activate=False)
    assert not session.is_active
    with pytest.raises(DeviceError, match="activate"):
        session.run(ROWS)
    for _ in range(2):
        session.activate()
    assert session.is_active and session.run(ROWS)["output"].shape == (2, tiny_graphs.DIM)
    for _ in range(2):
        session.deactivate()
    assert not session.is_active
    sdk.set(late_nsp_failure=True, devices=[{"qid": 0, "status": "Ready", "nsp_total": 16, "busy": 15}])
    with pytest.raises(DeviceError, match="NSP"):
        session.activate()
    sdk.set(devices=[{"qid": 0, "status": "Ready", "nsp_total": 16, "busy": 0}])
    session.activate()
    assert session.run(ROWS)


def test_a_failed_run_leaves_it_usable(sdk: FakeSdk, session: QAICInferenceSession) -> None:
    expected = session.run(ROWS)["output"]
    sdk.set(status={"waitForCompletion": "QS_TIMEDOUT"})
    with pytest.raises(DeviceError, match="QS_TIMEDOUT"):
        session.run(ROWS)
    sdk.set(status={})
    assert np.array_equal(session.run(ROWS)["output"], expected)


def test_a_device_that_disappears(sdk: FakeSdk, session: QAICInferenceSession) -> None:
    expected = session.run(ROWS)["output"]
    sdk.set(status={"waitForCompletion": "QS_DEV_ERROR"}, throw={"ExecObj": "device is gone"})
    with pytest.raises(DeviceError) as caught:
        session.run(ROWS)
    assert caught.value.status == "QS_DEV_ERROR" and not session.is_active
    with pytest.raises(DeviceError, match="activate"):
        session.run(ROWS)
    with pytest.raises(DeviceError, match="device is gone"):
        session.activate()
    sdk.set(status={}, throw={})
    session.activate()
    assert np.array_equal(session.run(ROWS)["output"], expected)


def test_several_devices_and_debug_logs(sdk: FakeSdk, compile_model: Compile) -> None:
    sdk.set(devices=[{"qid": i, "status": "Ready", "nsp_total": 16, "busy": 0} for i in range(3)])
    program = compile_model(devices=2)
    session = QAICInferenceSession(program.path / "qpc", device_ids=[2, 0], enable_debug_logs=True)
    assert session.run(ROWS)["output"].shape == (2, tiny_graphs.DIM)
    session.deactivate()
    programs.write(program)
    assert QAICInferenceSession(program.path).run(ROWS)["output"].shape == (2, tiny_graphs.DIM)
    with pytest.raises(OptionError, match="empty"):
        QAICInferenceSession(program.path, device_ids=[])


def test_the_timeout_reaches_the_device(sdk: FakeSdk, program: Program) -> None:
    session = QAICInferenceSession(program.path / "qpc", data_path_timeout_ms=500)
    sdk.set(device_time_ms=800)
    with pytest.raises(DeviceError, match="QS_TIMEDOUT"):
        session.run(ROWS)
    sdk.set(device_time_ms=0)  # the card is busy with the first for a while, yet a second may be queued
    assert session.run(ROWS)["output"].shape == (2, tiny_graphs.DIM)


def test_one_shape(compile_model: Compile) -> None:
    session = QAICInferenceSession(compile_model(LONG).path / "qpc")
    assert session.allowed_shapes == [] and json.dumps(session.allowed_shapes) == "[]"
    assert session.run(tiny_graphs.feed(16, 3))["output"].shape == (2, tiny_graphs.DIM)
