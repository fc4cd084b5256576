"""The card's session that keeps state: what moves, what follows a failure, what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from QEfficient.backends.qaic import QaicBackend, native
from QEfficient.backends.qaic.compiler import BINARY
from QEfficient.backends.qaic.retaining import RetainingSession
from QEfficient.backends.qaic.session import QaicSession
from QEfficient.errors import CompileError, DeviceError, InputError, OptionError, UsageError
from QEfficient.generation.decoder import Chunk
from QEfficient.generation.session_decoder import SessionDecoder
from QEfficient.records import MODEL, OnnxModel, Program, Shape, Target, TensorSpec
from tests import stateful_graphs as graphs
from tests.backends.qaic.conftest import Remembering
from tests.backends.state_conformance import feed, text
from tests.sdk import FakeSdk
from tests.stateful_graphs import FORMS, Form

FORM = FORMS["slots"]
NUMBERS = 4 * 5 * graphs.HEADS * FORM.ctx_len * graphs.DIM
Build = Callable[..., Program]


@pytest.fixture
def build(backend: QaicBackend, tmp_path: Path) -> Build:
    """Compiles a form: ``build(form, shapes=…, mxint8_kv_cache=True)``."""

    def build(form: Form = FORM, shapes: Any = None, *, devices: int = 1, compute: str = "fp16", **kw: Any) -> Program:
        folder = tmp_path / f"program{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        model = graphs.make(tmp_path / "graph", form)
        target = Target("qaic", compute, 4, devices)
        return backend.compile(
            {MODEL: model}, {MODEL: shapes or form.shapes}, target, backend.parse_options(kw), folder
        )

    return build


@pytest.fixture
def session(backend: QaicBackend, build: Build) -> Iterator[RetainingSession]:
    opened = backend.open(build())
    assert isinstance(opened, RetainingSession)
    with opened:
        yield opened


@pytest.fixture
def decoder(session: RetainingSession) -> SessionDecoder:
    return SessionDecoder(session, FORM.facts)


def traffic(sdk: FakeSdk) -> list[dict[str, Any]]:
    """What the runs since the last call moved, as the card counts it."""
    return list(native._LOADED[sdk.root].qaicrt.traffic())


def near(found: np.ndarray, ids: list[int], form: Form = FORM, tolerance: float = 5e-3) -> bool:
    return bool(np.abs(found - graphs.reference(form, ids)[-1]).max() < tolerance)


# ------------------------------------------------------------------------------------------------ compile


def recorded(program: Program) -> dict[str, Any]:
    assert program.binary_path
    return dict(json.loads((program.binary_path / BINARY).read_bytes().partition(b"{")[2].join([b"{", b""])))


def test_what_is_written_for_a_decoder(build: Build) -> None:
    program = build(devices=2, allow_mxint8_mdp_io=True)
    names = {path.name for path in program.path.iterdir()}
    assert names >= {"specializations.json", "custom_io.yaml", "partition.json", "qpc"}
    arguments = [a.removeprefix("-").partition("=")[0] for a in recorded(program)["arguments"]]
    assert {"retained-state", "custom-IO-list-file", "mdp-load-partition-config", "allow-mxint8-mdp-io"} <= {*arguments}
    assert recorded(program)["entries"] == ["Prefill", "Decode"] and program.manifest.shapes == FORM.shapes[::-1]


def test_a_graph_without_state_has_none_of_it(program: Program, backend: QaicBackend) -> None:
    assert "custom_io.yaml" not in {path.name for path in program.path.iterdir()}
    assert not any("retained" in argument for argument in recorded(program)["arguments"])
    with backend.open(program) as opened:
        assert isinstance(opened, QaicSession)


@pytest.mark.parametrize(
    ("options", "precision"),
    [({}, "float16"), ({"mxint8_kv_cache": True}, "mxint8"), ({"compute": "fp32"}, "float")],
)
def test_the_precision_of_state(build: Build, options: dict[str, Any], precision: str) -> None:
    program = build(**options)
    assert set(recorded(program)["precisions"].values()) == {precision}
    assert (program.path / "custom_io.yaml").exists() == (precision != "float")


def test_an_own_custom_io_file(build: Build, tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text(" - IOName: logits\n   Precision: float16\n")
    program = build(custom_IO_list_file=own)
    assert set(recorded(program)["precisions"].values()) == {"float"}  # it says nothing of state
    with pytest.raises(OptionError, match="mxint8_kv_cache"):
        build(custom_IO_list_file=own, mxint8_kv_cache=True)


def test_a_compiler_that_knows_no_flag_says_so(build: Build) -> None:
    with pytest.raises(CompileError, match="Invalid option"):
        build(raw_compiler_flags=["-mxint8-kv-cache"])


# ------------------------------------------------------------------------------------------------ what moves


def test_a_decode_moves_ids_positions_slots_and_logits(decoder: SessionDecoder, sdk: FakeSdk) -> None:
    """Whatever the caches' size: counted by the card, and by the session."""
    for slot in range(4):
        feed(decoder, slot, text(9))
    before = decoder._session.report()
    traffic(sdk)
    for step in range(3):
        decoder.decode([Chunk(slot, [5], 9 + step) for slot in (3, 0, 2)])
    moved = {"bytes_in": 3 * 3 * 8, "bytes_out": 3 * 4 * graphs.VOCABULARY}
    assert traffic(sdk) == [{"entry": "Decode", **moved, "state_bytes": 2 * NUMBERS}] * 3
    after = decoder._session.report()
    assert {name: after[name] - before[name] for name in ("runs", *moved)} == {
        "runs": 3,
        **{name: 3 * size for name, size in moved.items()},
    }
    assert after["bytes_held"] == decoder.bytes_held == 2 * NUMBERS


def test_a_prompt_runs_in_its_own_entry(decoder: SessionDecoder, sdk: FakeSdk) -> None:
    traffic(sdk)
    feed(decoder, 1, text(9))
    decoder.decode([Chunk(1, [5], 9)])
    runs = traffic(sdk)
    assert [run["entry"] for run in runs] == ["Prefill", "Prefill", "Decode"]
    assert runs[0]["bytes_in"] == (8 + 8 + 1) * 8 and runs[0]["bytes_out"] == 4 * graphs.VOCABULARY


def test_a_slot_goes_through_the_host(decoder: SessionDecoder, sdk: FakeSdk) -> None:
    feed(decoder, 1, text(9))
    moved = []
    state = decoder.read(1)
    for call in (
        lambda: decoder.read(1),
        lambda: decoder.write(0, state),
        lambda: decoder.copy(1, 3),
        lambda: decoder.clear(2),
        lambda: decoder.clear(),
    ):
        traffic(sdk)
        call()
        runs, idle = traffic(sdk), {"bytes_in": 72, "bytes_out": 12 * graphs.VOCABULARY}
        moved.append(tuple(sum(run[name] - idle[name] for run in runs) for name in idle))
    whole = 2 * NUMBERS
    assert moved == [(0, whole), (whole, whole), (whole, whole), (whole, whole), (whole, 0)]


# ------------------------------------------------------------------------------------------------ forms


def test_one_entry_for_prompts_and_steps(backend: QaicBackend, build: Build) -> None:
    """As with a prefill_seq_len of 1: the program then has a single shape, which it does not list."""
    program = build(shapes=[FORM.shapes[1]])
    with backend.open(program) as opened:
        ids, logits = text(6), np.zeros(0)
        for place, token in enumerate(ids):
            rows = {"input_ids": [token, 0, 0], "position_ids": [place, -1, -1], "batch_index": [2, -1, -1]}
            logits = opened.run({name: np.array(row)[:, None] for name, row in rows.items()})["logits"]
        assert near(logits[0, 0], ids)


def test_dims_that_no_entry_has(session: RetainingSession) -> None:
    rows = {name: np.zeros((2, 4), np.int64) for name in ("input_ids", "position_ids")}
    with pytest.raises(InputError) as caught:
        session.run({**rows, "batch_index": np.zeros((2, 1), np.int64)})
    assert "(2, 4)" in str(caught.value.got) and "length 8" in str(caught.value.allowed)
    assert "batch 3, length 1" in str(caught.value.allowed)


def test_logits_in_float16(backend: QaicBackend, build: Build, sdk: FakeSdk) -> None:
    sdk.set(float16_logits=True)
    with SessionDecoder(backend.open(build()), FORM.facts) as decoder:
        traffic(sdk)
        logits, ids = feed(decoder, 0, text(5)), text(5)
        assert logits.dtype == np.float32 and near(logits, ids)
        assert traffic(sdk)[0]["bytes_out"] == 2 * graphs.VOCABULARY


def test_state_in_float32(backend: QaicBackend, build: Build) -> None:
    with SessionDecoder(backend.open(build(compute="fp32")), FORM.facts) as decoder:
        ids = text(12)
        assert near(feed(decoder, 3, ids), ids, tolerance=1e-5)
        assert decoder.bytes_held == 4 * NUMBERS and decoder.read(0)["past_key.0"].dtype == np.float32


@pytest.mark.parametrize("number", [8, 1, 9], ids=["int8", "float16", "unknown"])
@pytest.mark.parametrize("generation", ["new", "old"])
def test_state_in_mxint8(backend: QaicBackend, build: Build, sdk: FakeSdk, number: int, generation: str) -> None:
    """It writes text whatever type the program says it has, and never leaves the card."""
    sdk.set(mxint8_type=number, in_place=generation == "new")
    opened = backend.open(build(mxint8_kv_cache=True))
    with SessionDecoder(opened, FORM.facts) as decoder:
        ids = text(12)
        assert near(feed(decoder, 3, ids), ids, tolerance=0.1)
        assert near(decoder.decode([Chunk(3, [4], 12)])[0, 0], [*ids, 4], tolerance=0.1)
        assert decoder.bytes_held == NUMBERS + NUMBERS // 32
        assert {spec.dtype for spec in opened.states} == {"mxint8"}
        for call in (
            lambda: decoder.read(0),
            lambda: decoder.write(0, {}),
            lambda: decoder.copy(0, 1),
            lambda: decoder.clear(1),
            lambda: decoder.clear(),
        ):
            with pytest.raises(UsageError, match="MXINT8") as caught:
                call()
            assert "mxint8_kv_cache" in str(caught.value.do)
        assert near(decoder.decode([Chunk(3, [5], 13)])[0, 0], [*ids, 4, 5], tolerance=0.1)


def test_one_program_over_two_devices(backend: QaicBackend, build: Build, sdk: FakeSdk) -> None:
    sdk.set(devices=[{"qid": i, "status": "Ready", "nsp_total": 16, "busy": 0} for i in range(4)])
    program = build(devices=2)
    with SessionDecoder(backend.open(program, [3, 1]), FORM.facts) as decoder:
        ids = text(9)
        assert near(feed(decoder, 0, ids), ids)
    with pytest.raises(OptionError, match="one device group") as caught:
        backend.open(program, [0, 1, 2, 3])
    assert "once for each group" in str(caught.value.do)
    assert native.devices(backend.sdk)[0].free_cores == 16


# ------------------------------------------------------------------------------------------------ failures


@pytest.mark.parametrize("lost", ["named", "all"])
@pytest.mark.parametrize("step", ["enqueue", "waitForCompletion"])
def test_a_failure_loses_the_state_and_not_the_session(
    decoder: SessionDecoder, sdk: FakeSdk, step: str, lost: str
) -> None:
    ids = text(9)
    feed(decoder, 0, ids)
    sdk.set(status={step: "QS_TIMEDOUT"}, lost_slots=lost)
    with pytest.raises(DeviceError, match="What every slot held is lost") as caught:
        decoder.decode([Chunk(0, [4], 9)])
    assert caught.value.status == "QS_TIMEDOUT" and "prefill" in str(caught.value.do)
    sdk.set(status={})
    assert near(feed(decoder, 0, [*ids, 4]), [*ids, 4])


def test_a_device_that_makes_no_new_exec_obj_for_a_while(decoder: SessionDecoder, sdk: FakeSdk) -> None:
    feed(decoder, 0, text(9))
    sdk.set(status={"waitForCompletion": "QS_DEV_ERROR"}, throw={"ExecObj": "device is gone"})
    with pytest.raises(DeviceError, match="QS_DEV_ERROR"):
        decoder.decode([Chunk(0, [4], 9)])
    with pytest.raises(DeviceError, match="device is gone"):
        decoder.decode([Chunk(0, [4], 9)])
    sdk.set(status={}, throw={})
    assert near(feed(decoder, 0, text(9)), text(9))


def test_an_inference_that_ends_after_its_time_out(backend: QaicBackend, build: Build, sdk: FakeSdk) -> None:
    """It still runs when the next one is queued, which comes after it."""
    short = QaicBackend(timeout_ms=150)
    with SessionDecoder(short.open(build()), FORM.facts) as decoder:
        feed(decoder, 0, text(9))
        sdk.set(device_time_ms=300)
        with pytest.raises(DeviceError, match="QS_TIMEDOUT"):
            decoder.decode([Chunk(0, [4], 9)])
        sdk.set(device_time_ms=0)
        ids = text(9, seed=3)
        for _ in range(3):  # what was queued behind it may time out too
            try:
                logits = feed(decoder, 0, ids)
                break
            except DeviceError:
                continue
        assert near(logits, ids)


def test_a_device_that_refuses_leaves_no_core_taken(backend: QaicBackend, build: Build, sdk: FakeSdk) -> None:
    program = build()
    sdk.set(throw={"ExecObj": "no"})
    with pytest.raises(DeviceError):
        backend.open(program)
    sdk.set(throw={})
    assert native.devices(backend.sdk)[0].free_cores == 16
    with backend.open(program) as one, backend.open(program) as other:  # both on one device
        assert one.report()["devices"] == other.report()["devices"] == [[0]]
        assert native.devices(backend.sdk)[0].free_cores == 8
    assert native.devices(backend.sdk)[0].free_cores == 16


def test_a_program_that_is_not_its_manifests(backend: QaicBackend, build: Build) -> None:
    program = build()
    graph = program.manifest.graph
    other = replace(graph, shapes=(Shape(1, 2, FORM.shapes[0].sizes | {"seq_len": 1, "batch_size": 2}),))
    manifest = replace(program.manifest, graphs={MODEL: other})
    with pytest.raises(DeviceError, match="disagree on shapes"):
        backend.open(Program(program.path, manifest))
    assert native.devices(backend.sdk)[0].free_cores == 16


def test_state_that_no_idle_run_leaves_alone(backend: QaicBackend, runner: Remembering, tmp_path: Path) -> None:
    """A sum over all runs has no positions, so any run changes it: it runs, and its state stays where it is."""
    source = '<ir_version: 9, opset_import: ["" : 18]> sum (float[batch_size, 4] more, float[batch_size, 4] total) => '
    source += "(float[batch_size, 4] doubled, float[batch_size, 4] total_RetainedState) {"
    source += "total_RetainedState = Add(total, more) doubled = Add(total_RetainedState, total_RetainedState) }"
    onnx.save(onnx.parser.parse_model(source), tmp_path / "sum.onnx")
    specs = {name: TensorSpec(name, "float32", ("batch_size", 4)) for name in ("more", "total", "doubled")}
    outputs = (specs["doubled"], TensorSpec("total_RetainedState", "float32", ("batch_size", 4)))
    model = OnnxModel(tmp_path / "sum.onnx", (specs["more"], specs["total"]), outputs, "0")
    (tmp_path / "sums").mkdir()
    target = Target("qaic", "fp16", 4)
    program = backend.compile(
        {MODEL: model}, {MODEL: [Shape(batch=2)]}, target, backend.parse_options({}), tmp_path / "sums"
    )
    with backend.open(program) as opened:
        assert np.isnan(opened.run({"more": np.ones((2, 4), np.float32)})["doubled"]).all()
        assert isinstance(opened, RetainingSession)
        with pytest.raises(UsageError, match="change nothing"):
            opened.clear()
