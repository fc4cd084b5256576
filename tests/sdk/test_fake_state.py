"""The fake SDK on graphs with retained state: strict where the card is known to be, and where a client must not go."""

from __future__ import annotations

import json
import platform
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from QEfficient.backends.qaic.options import custom_io, specializations
from QEfficient.backends.retained import state_pairs
from QEfficient.numerics.formats import mxint8
from QEfficient.records import CompileOptions, OnnxModel, Target
from tests import stateful_graphs as graphs
from tests.sdk import FakeSdk, make_sdk
from tests.sdk.parts import compiler
from tests.sdk.parts.bounds import drop_and_poison
from tests.sdk.parts.state import round_to_mxint8
from tests.sdk.test_fake_sdk import load

FORM = graphs.FORMS["slots"]
CACHE = (FORM.slots + 1, graphs.HEADS, FORM.ctx_len, graphs.DIM)
PREFILL, DECODE = FORM.shapes


def written(folder: Path, model: OnnxModel, *, precision: str = "float16", named: bool = True) -> list[str]:
    """The compiler's small files; the arguments that name them."""
    pairs = state_pairs(model.inputs, model.outputs)
    options = CompileOptions(flags={"mxint8_kv_cache": precision == "mxint8"})
    specs, io = folder / "specializations.json", folder / "io.yaml"
    specs.write_text(specializations(model.inputs, FORM.shapes, named=named, retained=True) or "")
    io.write_text(custom_io(pairs, Target("qaic", "fp16"), options) or "")
    return [f"-network-specialization-config={specs}", f"-custom-IO-list-file={io}"]


# ------------------------------------------------------------------------------------------------ compiler


class Bench:
    """The compiler in this process, up to the network, which it does not write."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.model = folder, graphs.make(folder / "graph", FORM)
        self.files = written(folder, self.model)
        self.control: dict[str, Any] = {"generation": "new", "compute": "echo"}
        monkeypatch.setattr(compiler, "CONTROL", self.control)

    def compile(self, *flags: str) -> dict[str, Any]:
        out = self.folder / "qpc"
        line = ["-aic-hw", "-aic-hw-version=ai100", f"-m={self.model.path}", "-convert-to-fp16", *self.files]
        compiler.compile_model(compiler.parse([*line, f"-aic-binary-dir={out}", *flags]))
        return dict(json.loads((out / "programqpc.bin").read_bytes().partition(b"{")[2].join([b"{", b""])))

    def edit(self, change: Any) -> None:
        """Changes the graph."""
        graph = onnx.load(self.model.path)
        change(graph.graph)
        onnx.save(graph, self.model.path)

    def specialize(self, *sizes: Mapping[str, int]) -> None:
        entries = [{name: str(size) for name, size in entry.items()} for entry in sizes]
        (self.folder / "specializations.json").write_text(json.dumps({"specializations": entries}))


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(tmp_path, monkeypatch)


def test_what_a_program_records(bench: Bench) -> None:
    record = bench.compile("-retained-state")
    names = [f"past_{part}.{layer}" for layer in (0, 1) for part in ("key", "value")]
    assert record["pairs"] == {name: f"{name}_RetainedState" for name in names}
    assert record["precisions"] == dict.fromkeys(names, "float16") and record["entries"] == ["Prefill", "Decode"]
    state = {*record["pairs"], *record["pairs"].values()}
    for binding in record["bindings"]:
        kept = binding["name"] in state
        assert binding["partial"] == kept
        assert (binding["type"] == 1 and binding["dims"] == list(CACHE)) == kept
    logits = record["bindings"][7]["index"]
    assert [entry[logits] for entry in record["allowed"]] == [
        {"type": 0, "dims": [rows, 1, graphs.VOCABULARY]} for rows in (1, 3)
    ]


def test_without_the_flag_there_is_no_state(bench: Bench) -> None:
    bench.specialize(*[shape.sizes for shape in FORM.shapes])
    record = bench.compile()
    assert record["pairs"] == {} and all(binding["partial"] for binding in record["bindings"])
    bench.specialize({**PREFILL.sizes, "full_batch_exec_size": 1}, DECODE.sizes)
    with pytest.raises(compiler.Refused, match="full_batch_exec_size"):
        bench.compile()
    (bench.folder / "io.yaml").write_text(" - IOName: past_key.0\n   Precision: mxint8\n")
    bench.specialize(*[shape.sizes for shape in FORM.shapes])
    with pytest.raises(compiler.Refused, match="mxint8"):
        bench.compile()


def _rename_input(graph: Any) -> None:
    for value in graph.input:
        value.name = value.name.replace("past_key.1", "former_key.1")


def _other_shape(graph: Any) -> None:
    next(v for v in graph.output if v.name == "past_key.1_RetainedState").type.tensor_type.shape.dim[2].dim_param = "x"


@pytest.mark.parametrize(
    ("change", "text"), [(_rename_input, "no input 'past_key.1'"), (_other_shape, "differ in type")]
)
def test_an_output_needs_its_input(bench: Bench, change: Any, text: str) -> None:
    bench.edit(change)
    with pytest.raises(compiler.Refused, match=text):
        bench.compile("-retained-state")


def test_entries_that_a_run_could_not_tell_apart(bench: Bench) -> None:
    bench.specialize(DECODE.sizes, {**DECODE.sizes, "full_batch_size": 9}, PREFILL.sizes)
    with pytest.raises(compiler.Refused, match="nothing but the dims of retained state"):
        bench.compile("-retained-state")
    bench.specialize({**DECODE.sizes, "batch_size": 2}, DECODE.sizes, PREFILL.sizes)
    assert bench.compile("-retained-state")["entries"] == ["0", "1", "2"]


BAD_IO = {
    "one half": " - IOName: past_key.0\n   Precision: float16\n",
    "two precisions": (
        " - IOName: past_key.0\n   Precision: float16\n\n - IOName: past_key.0_RetainedState\n   Precision: mxint8\n"
    ),
    "no state": " - IOName: logits\n   Precision: mxint8\n",
    "twice": " - IOName: logits\n   Precision: float16\n" * 2,
}


@pytest.mark.parametrize("what", BAD_IO)
def test_bad_custom_io(bench: Bench, what: str) -> None:
    (bench.folder / "io.yaml").write_text(BAD_IO[what])
    with pytest.raises(compiler.Refused, match="custom I/O"):
        bench.compile("-retained-state")


def test_switches_of_the_compiler(bench: Bench) -> None:
    bench.control |= {"float16_logits": True, "partial_others": True, "partial_state": False}
    bindings = bench.compile("-retained-state")["bindings"]
    assert next(b for b in bindings if b["name"] == "logits")["type"] == 1
    assert {b["partial"] for b in bindings if "past" in b["name"]} == {False} and bindings[0]["partial"]
    bench.control["highest_opset"] = 17
    with pytest.raises(compiler.Refused, match="opset 18"):
        bench.compile("-retained-state")


# ------------------------------------------------------------------------------------------------ indices


def _guarded(kind: str, data: np.ndarray, *rest: np.ndarray, **attributes: int) -> tuple[np.ndarray, np.ndarray]:
    """What one operator gives, and what it gives once it is rewritten."""
    arrays = {"data": data, **{f"in{place}": array for place, array in enumerate(rest)}}
    inputs = [
        onnx.helper.make_tensor_value_info(name, onnx.helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
        for name, array in arrays.items()
    ]
    output = onnx.helper.make_tensor_value_info("output", onnx.TensorProto.FLOAT, None)
    node = onnx.helper.make_node(kind, list(arrays), ["output"], **attributes)
    graph = onnx.helper.make_graph([node], "one", inputs, [output])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=9)

    def run(feed: Mapping[str, np.ndarray]) -> np.ndarray:
        found = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        return np.asarray(found.run(None, feed)[0])

    safe = {**arrays, "in0": np.where(arrays["in0"] >= 3, 0, arrays["in0"])}
    plain = run(safe)
    drop_and_poison(model)
    return plain, run(arrays)


DATA = np.arange(36, dtype=np.float32).reshape(3, 3, 4)
LARGE = 2**31 - 1


def test_a_scatter_drops_what_is_too_large() -> None:
    indices = np.array([[0, 1], [2, LARGE], [-1, -1], [3, 0]])
    updates = np.full((4, 4), 100, np.float32) + np.arange(4, dtype=np.float32)[:, None]
    _, found = _guarded("ScatterND", DATA, indices, updates)
    expected = DATA.copy()
    expected[0, 1], expected[2, 2] = 100, 102
    assert np.array_equal(found, expected)


@pytest.mark.parametrize(
    ("kind", "indices", "attributes"),
    [
        ("Gather", np.array([[0, 3], [-1, 2]]), {"axis": 1}),
        ("Gather", np.array(LARGE), {"axis": 0}),
        ("GatherND", np.array([[0, 2], [1, LARGE], [-1, -1]]), {}),
        ("GatherND", np.array([[[0], [3]], [[1], [-1]], [[LARGE], [2]]]), {"batch_dims": 1}),
        ("GatherElements", np.array([[[0, 1, 2, LARGE]]]), {"axis": 1}),
    ],
)
def test_a_gather_poisons_what_is_too_large(kind: str, indices: np.ndarray, attributes: dict[str, int]) -> None:
    plain, found = _guarded(kind, DATA, indices, **attributes)
    large = indices >= 3
    if kind == "GatherND":
        large = large.any(-1)
    behind = found.ndim - large.ndim - (attributes.get("axis", 0) if kind == "Gather" else 0)
    lost = np.broadcast_to(large.reshape(large.shape + (1,) * behind), found.shape)
    assert lost.any() and found.shape == plain.shape
    assert np.isnan(found[lost]).all() and np.array_equal(found[~lost], plain[~lost])


def test_two_readings_of_mxint8_agree() -> None:
    numbers = np.random.default_rng(0).standard_normal((3, 5, 70)).astype(np.float32) * 7
    numbers[0, 0, :32] = 0
    for axis in (0, 1, -1):
        assert np.array_equal(round_to_mxint8(numbers, axis), mxint8(numbers, axis=axis))
    assert np.isnan(round_to_mxint8(np.array([1.0, np.nan]))).tolist() == [False, True]


# ------------------------------------------------------------------------------------------------ runtime


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SDK's root and beside it programs with float16 and with MXINT8 state."""
    folder = tmp_path_factory.mktemp("state")
    sdk, model = make_sdk(folder / "sdk", devices=2), graphs.make(folder / "graph", FORM)
    for precision in ("float16", "mxint8"):
        (folder / precision).mkdir()
        files = written(folder / precision, model, precision=precision)
        line = [sdk.compiler, "-aic-hw", "-aic-hw-version=ai100", f"-m={model.path}", "-convert-to-fp16", *files]
        out = f"-aic-binary-dir={folder / precision / 'qpc'}"
        subprocess.run([*line, "-retained-state", "-aic-num-cores=4", out], check=True, cwd=folder, capture_output=True)
    return folder


Buffers = Mapping[str, np.ndarray | None]


class Card:
    """A client of the runtime that does each step by hand; ``None`` stands for a buffer of no bytes."""

    def __init__(self, folder: Path, root: Path, precision: str = "float16", qid: int = 0) -> None:
        self.rt = load(root / "dev" / "lib" / platform.machine() / "qaicrt.py", "qaicrt")
        self.ok, self.wrong = self.rt.QStatus.QS_SUCCESS, self.rt.QStatus.QS_ERROR
        self.context = self.rt.Context(self.rt.QIDList([qid]))
        self.queue = self.rt.Queue(self.context, qid)
        qpc, self.properties = self.rt.Qpc(str(folder / precision / "qpc")), self.rt.QAicProgramProperties()
        self.program = self.rt.Program(self.context, qid, qpc, self.properties)
        self.bindings = {b["name"]: b for b in qpc.record["bindings"]}
        self.state = [name for name in self.bindings if name.startswith("past")]
        assert (self.program.load(), self.program.activate()) == (self.ok, self.ok)
        self.obj = self.rt.ExecObj(self.context, self.program)

    def set(self, arrays: Buffers, obj: Any = None) -> Any:
        """State that is not named is skipped."""
        data, dims = [], []
        for name in self.bindings:
            array = arrays.get(name)
            data.append(self.rt.QBuffer(b"" if array is None else array.tobytes()))
            dims.append((8, [0]) if array is None else (array.itemsize, list(array.shape)))
        return (obj or self.obj).setData(data, self.rt.BufferDimensionsVecRef(dims))

    def run(self, arrays: Buffers, obj: Any = None) -> Any:
        """The status, or the arrays of the buffers that had bytes."""
        obj = obj or self.obj
        status = self.set(arrays, obj)
        assert status == self.ok == self.queue.enqueue(obj)
        status = obj.waitForCompletion()
        if status != self.ok:
            return status
        found = dict(zip(self.bindings, obj.getData()[1], strict=True))
        shapes = {name: array for name, array in arrays.items() if array is not None}
        return {n: np.frombuffer(bytes(found[n]), a.dtype).reshape(a.shape) for n, a in shapes.items()}


def rows(slots: Sequence[int], places: Sequence[int], ids: Sequence[int] | None = None) -> dict[str, np.ndarray]:
    """A decode run's buffers."""
    ids = ids or [7] * len(slots)
    arrays = {"input_ids": ids, "position_ids": places, "batch_index": slots}
    found = {name: np.array(values)[:, None] for name, values in arrays.items()}
    return {**found, "logits": np.zeros((len(slots), 1, graphs.VOCABULARY), np.float32)}


def fetched(card: Card) -> dict[str, np.ndarray]:
    """All state, as a run of idle rows hands it out."""
    outputs = {f"{n}": np.zeros(CACHE, np.float16) for n in card.state if n.endswith("_RetainedState")}
    found = card.run({**rows([-1] * 3, [-1] * 3), **outputs})
    return {name.removesuffix("_RetainedState"): found[name] for name in outputs}


@pytest.fixture
def sdk(compiled: Path) -> Any:
    sdk = FakeSdk(compiled / "sdk", "new")
    before = (sdk.root / "control.json").read_text()
    yield sdk
    (sdk.root / "control.json").write_text(before)
    sdk.set()


@pytest.fixture
def card(compiled: Path, sdk: FakeSdk) -> Card:
    return Card(compiled, sdk.root)


def test_garbage_at_first(card: Card, compiled: Path, sdk: FakeSdk) -> None:
    """But for the scratch slot, which the idle run that fetches it writes to."""
    assert all(np.isnan(array[:-1]).all() for array in fetched(card).values())
    sdk.set(state_at_start="zeros")
    assert not any(array[:-1].any() for array in fetched(Card(compiled, sdk.root, qid=1)).values())


def test_what_a_run_writes_stays(card: Card) -> None:
    first = card.run(rows([2, 0, 3], [0, 0, 0]))["logits"]
    assert np.isfinite(first).all()
    kept = fetched(card)
    for array in kept.values():
        assert np.isfinite(array[[0, 2, 3], :, 0]).all() and np.isnan(array[[0, 2, 3], :, 1:]).all()
        assert np.isnan(array[1]).all()
    second = card.run(rows([2, -1, -1], [1, -1, -1]))["logits"][0, 0]
    assert abs(second - graphs.reference(FORM, [7, 7])[1]).max() < 5e-3
    assert np.array_equal(fetched(card)["past_key.0"][2, :, 0], kept["past_key.0"][2, :, 0])


def test_either_half_of_a_pair_may_be_skipped(card: Card) -> None:
    given = {name: np.zeros(CACHE, np.float16) for name in card.state if not name.endswith("_RetainedState")}
    given["past_value.1"] = given["past_value.1"] + np.float16(0.1)
    card.run({**rows([-1] * 3, [-1] * 3), **given})  # inputs alone: they are the state from now on
    found = fetched(card)  # outputs alone
    assert all(np.array_equal(found[name][:-1], given[name][:-1]) for name in given)


def test_nothing_else_may_be_skipped(card: Card, sdk: FakeSdk) -> None:
    for name in ("input_ids", "batch_index", "logits"):
        assert card.run({**rows([0, 1, 2], [0, 0, 0]), name: None}) == card.wrong


def test_state_of_another_size(card: Card) -> None:
    large, small = (np.zeros((slots, *CACHE[1:]), np.float16) for slots in (6, 4))
    assert card.set({**rows([0, 1, 2], [0, 0, 0]), "past_key.0": large}) == card.wrong
    assert card.run({**rows([0, 1, 2], [0, 0, 0]), "past_key.0": small}) == card.wrong


def test_one_activation_has_one_state(card: Card, compiled: Path, sdk: FakeSdk) -> None:
    other = card.rt.ExecObj(card.context, card.program)
    card.run(rows([0, 1, 2], [0, 0, 0]))
    assert np.isfinite(card.run(rows([0, -1, -1], [1, -1, -1]), other)["logits"][0]).all()
    assert np.isnan(Card(compiled, sdk.root, qid=1).run(rows([0, -1, -1], [1, -1, -1]))["logits"][0]).all()
    del card.obj, other
    assert card.program.deactivate() == card.program.activate() == card.ok
    card.obj = card.rt.ExecObj(card.context, card.program)
    assert np.isnan(card.run(rows([0, -1, -1], [1, -1, -1]))["logits"][0]).all()


def test_runs_go_in_the_order_of_the_queue(card: Card, sdk: FakeSdk) -> None:
    sdk.set(device_time_ms=5, out_of_order=True)
    objects = [card.rt.ExecObj(card.context, card.program) for _ in range(6)]
    for place, obj in enumerate(objects):
        assert card.set(rows([1, -1, -1], [place, -1, -1], [place + 3] * 3), obj) == card.queue.enqueue(obj) == card.ok
    assert [obj.waitForCompletion() for obj in reversed(objects)] == [card.ok] * 6
    logits = np.frombuffer(bytes(objects[-1].getData()[1][card.bindings["logits"]["index"]]), np.float32).reshape(
        3, -1
    )[0]
    assert abs(logits - graphs.reference(FORM, [3, 4, 5, 6, 7, 8])[-1]).max() < 5e-3


@pytest.mark.parametrize("lost", ["named", "all"])
@pytest.mark.parametrize("how", ["status", "time"])
def test_a_failed_run_loses_what_it_had_in_hand(card: Card, sdk: FakeSdk, lost: str, how: str) -> None:
    card.run(rows([0, 1, 2], [0, 0, 0]))
    sdk.set(lost_slots=lost)
    if how == "status":
        sdk.set(status={"waitForCompletion": "QS_TIMEDOUT"})
    else:
        card.properties.dataPathTimeoutMs = 20
        sdk.set(device_time_ms=200)
    assert card.run(rows([0, -1, -1], [1, -1, -1])) == card.rt.QStatus.QS_TIMEDOUT
    sdk.set(status={}, device_time_ms=0)
    card.properties.dataPathTimeoutMs = 0
    card.obj = card.rt.ExecObj(card.context, card.program)  # the other one may still run
    found = fetched(card)["past_key.0"]
    assert np.isnan(found[0]).all() and np.isfinite(found[1, :, 0]).all() == (lost == "named")


def test_a_slot_is_named_once(card: Card) -> None:
    with pytest.raises(RuntimeError, match="named twice"):
        card.run(rows([2, 1, 2], [0, 0, 1]))


def test_arrays_in_place(card: Card) -> None:
    """What is not listed: state stays on the card, other inputs are as they were listed last."""
    names = list(card.bindings)

    def start(arrays: Mapping[str, np.ndarray]) -> Any:
        status = card.obj.setData([(names.index(name), array) for name, array in arrays.items()])
        return status if status != card.ok else card.queue.enqueue(card.obj) == card.ok and card.obj.waitForCompletion()

    first = rows([0, 1, 2], [0, 0, 0])
    assert start({name: array for name, array in first.items() if name != "batch_index"}) != card.ok
    assert start(first) == card.ok
    second = {name: array for name, array in rows([0, 1, 2], [1, 1, 1]).items() if name != "batch_index"}
    assert start(second) == card.ok
    assert abs(second["logits"][1, 0] - graphs.reference(FORM, [7, 7])[1]).max() < 5e-3
    kept = np.zeros(CACHE, np.float16)
    assert start({**second, "past_value.1_RetainedState": kept}) == card.ok and np.isfinite(kept[0, :, 1]).all()
    assert start({**second, "past_value.1": np.zeros((6, *CACHE[1:]), np.float16)}) == card.wrong


def test_what_is_counted(card: Card, sdk: FakeSdk) -> None:
    card.rt.traffic()
    card.run(rows([0, 1, 2], [0, 0, 0]))
    fetched(card)
    run, fetch = card.rt.traffic()
    cells = 4 * 2 * int(np.prod(CACHE))
    assert run == {
        "entry": "Decode",
        "bytes_in": 3 * 3 * 8,
        "bytes_out": 3 * 4 * graphs.VOCABULARY,
        "state_bytes": cells,
    }
    assert fetch == {**run, "bytes_out": run["bytes_out"] + cells}
    assert card.rt.traffic() == []


def test_the_time_of_an_entry(card: Card, sdk: FakeSdk) -> None:
    sdk.set(entry_time_ms={"Decode": 120, "Prefill": 0})
    assert card.set(rows([0, 1, 2], [0, 0, 0])) == card.queue.enqueue(card.obj) == card.ok
    assert card.obj.getData() == (card.rt.QStatus.QS_INVAL, [])
    assert card.obj.waitForCompletion() == card.ok
    assert card.rt.report()["devices"][0]["busy_seconds"] == pytest.approx(0.12)


def test_mxint8_does_not_leave_the_card(compiled: Path, sdk: FakeSdk) -> None:
    card = Card(compiled, sdk.root, "mxint8")
    first = card.run(rows([0, 1, 2], [0, 0, 0]))["logits"]
    assert np.isfinite(first).all()
    second = card.run(rows([0, -1, -1], [1, -1, -1]))["logits"][0, 0]
    error = abs(second - graphs.reference(FORM, [7, 7])[1]).max()
    assert error < 0.1
    for name in ("past_key.0", "past_key.0_RetainedState"):
        assert card.run({**rows([0, 1, 2], [0, 0, 0]), name: np.zeros(CACHE, np.int8)}) == card.wrong
    assert card.bindings["past_key.0"]["type"] == 8
