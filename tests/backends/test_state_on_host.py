"""onnxruntime and OpenVINO with state: the common suite, and what is their own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from QEfficient.backends.base import Backend, Retaining
from QEfficient.backends.onnxruntime import OnnxRuntimeBackend
from QEfficient.backends.openvino import OpenVinoBackend
from QEfficient.backends.openvino_paged_state import OpenVinoPagedSession
from QEfficient.backends.openvino_state import OpenVinoStateSession
from QEfficient.backends.state_session import StateSession
from QEfficient.errors import CorruptArtefactError, DeviceError, InputError
from QEfficient.generation.decoder import Chunk
from QEfficient.generation.session_decoder import SessionDecoder
from QEfficient.records import MODEL, CompileOptions, OnnxModel, Program, Shape, Target, TensorSpec
from tests import cached_graphs
from tests import stateful_graphs as graphs
from tests.backends.state_conformance import StateConformance, feed, same, text
from tests.stateful_graphs import FORMS, Form


class HostConformance(StateConformance):
    def poison(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(StateSession, "initial", np.nan)

    def test_it_starts_with_zeros(self, backend: Backend, program: Program) -> None:
        with backend.open(program) as session:
            assert isinstance(session, Retaining)
            assert not any(array.any() for array in session.read(0).values())


class TestOnnxRuntimeState(HostConformance):
    @pytest.fixture
    def backend(self) -> Backend:
        return OnnxRuntimeBackend()


class TestJoinedState(HostConformance):
    """The same decoders with attention in one operator, which has no slots."""

    @pytest.fixture
    def backend(self) -> Backend:
        return OnnxRuntimeBackend()

    @pytest.fixture(params=[name for name, form in FORMS.items() if form.window is None])
    def form(self, request: pytest.FixtureRequest) -> Form:
        return FORMS[request.param]

    def graph(self, folder: Path, form: Form) -> OnnxModel:
        return graphs.make(folder, form) if form.window else cached_graphs.make(folder, form)

    def test_it_is_joined(self, program: Program) -> None:
        graph = onnx.load(program.joined_path)
        found = Counter(node.op_type for node in graph.graph.node)
        assert found["GroupQueryAttention"] == graphs.LAYERS
        assert not found.keys() & {"Softmax", "ScatterND", "CtxScatterCB", "CtxScatter"}
        assert set(program.manifest.graph.in_place) == {
            f"past_{part}.{layer}" for layer in range(graphs.LAYERS) for part in ("key", "value")
        }


@pytest.fixture(scope="class")
def opened() -> Iterator[dict[tuple[Form, bool], Any]]:
    sessions: dict[tuple[Form, bool], Any] = {}
    yield sessions
    for session in sessions.values():
        session.close()


class TestOpenVinoState(HostConformance):
    @pytest.fixture
    def backend(self) -> Backend:
        return OpenVinoBackend()

    @pytest.fixture(params=[False, True], ids=["free", "fixed"])
    def decoder(
        self,
        backend: Backend,
        program: Program,
        form: Form,
        opened: dict[tuple[Form, bool], Any],
        request: pytest.FixtureRequest,
    ) -> SessionDecoder:
        """OpenVINO compiles a graph when it is opened, so a session serves many tests: each begins with NaN in it."""
        if (form, request.param) not in opened:
            opened[form, request.param] = backend.open(program, strict=request.param)
        session = opened[form, request.param]
        nothing = {spec.name: np.full(spec.shape[1:], np.nan, spec.dtype) for spec in session.states}
        for slot in range(session.states[0].shape[0]):
            session.write(slot, nothing)
        return SessionDecoder(session, form.facts)


class TestPagedState(TestOpenVinoState):
    """The same decoders with caches of blocks; where shapes are fixed, with slots as ever."""

    @pytest.fixture(params=[name for name, form in FORMS.items() if form.window is None])
    def form(self, request: pytest.FixtureRequest) -> Form:
        return FORMS[request.param]

    def graph(self, folder: Path, form: Form) -> OnnxModel:
        return graphs.make(folder, form) if form.window else replace(cached_graphs.make(folder, form), functions=True)

    def test_it_is_paged(self, backend: Backend, program: Program) -> None:
        """With the version of openvino that is installed: else a decoder is twenty times as slow."""
        assert program.paged_path is not None
        found = Counter(node.op_type for node in onnx.load(program.paged_path).graph.node)
        assert found["PagedAttention"] == graphs.LAYERS
        assert not found.keys() & {"Softmax", "ScatterND", "CtxScatterCB", "CtxScatter"}
        with backend.open(program) as free, backend.open(program, strict=True) as fixed:
            assert (type(free), type(fixed)) == (OpenVinoPagedSession, OpenVinoStateSession)
            assert free.report()["paged"] and "paged" not in fixed.report()


def compiled(backend: Backend, folder: Path, form: Form) -> Program:
    (folder / "program").mkdir()
    model = graphs.make(folder / "graph", form)
    target = Target(backend.name)
    return backend.compile({MODEL: model}, {MODEL: form.shapes}, target, CompileOptions(), folder / "program")


def copying(program: Program) -> Program:
    """The program with two buffers for each state."""
    graph = replace(program.manifest.graph, in_place=())
    return replace(program, manifest=replace(program.manifest, graphs={MODEL: graph}))


SLOTS, NUMBERS = 4, 2**22  # 16 MiB a slot


@pytest.fixture
def large(tmp_path: Path) -> Program:
    """One number is written into a slot, and another one read: next to no work, and 64 MiB of state."""
    graph = onnx.parser.parse_model(
        f"""<ir_version: 9, opset_import: ["" : 18]>
        g (int64[batch_size, 2] place, float[batch_size] number, float[slots, {NUMBERS}] past)
        => (float[batch_size] before, float[slots, {NUMBERS}] past_RetainedState)
        {{ past_RetainedState = ScatterND(past, place, number)
           step = Constant <value = int64[2] {{0, -1}}> ()
           left = Add(place, step)
           before = GatherND(past_RetainedState, left) }}"""
    )
    onnx.save(graph, tmp_path / "model.onnx")
    state = TensorSpec("past", "float32", ("slots", NUMBERS))
    numbers = TensorSpec("number", "float32", ("batch_size",))
    inputs = (TensorSpec("place", "int64", ("batch_size", 2)), numbers, state)
    outputs = (replace(numbers, name="before"), replace(state, name="past_RetainedState"))
    model = OnnxModel(tmp_path / "model.onnx", inputs, outputs, digest="")
    (tmp_path / "program").mkdir()
    backend, shapes = OnnxRuntimeBackend(), [Shape(batch=2, sizes={"slots": SLOTS})]
    return backend.compile(
        {MODEL: model}, {MODEL: shapes}, Target(backend.name), CompileOptions(), tmp_path / "program"
    )


def addresses(session: Any) -> dict[str, int]:
    return {name: buffer.ctypes.data for name, buffer in session._buffers.items()}


def resident() -> int:
    """Bytes of memory that this process has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def grown(program: Program, monkeypatch: pytest.MonkeyPatch) -> tuple[int, bool]:
    """What runs add to the memory of a process that has all its state, and whether the buffers stay where they are."""
    monkeypatch.setattr(StateSession, "initial", np.nan)  # all pages are written
    with OnnxRuntimeBackend().open(program) as session:
        assert isinstance(session, Retaining)
        before, held = addresses(session), resident()
        for place in range(1, 4):
            arrays = {"place": np.array([[2, place], [0, place]]), "number": np.array([place, -place], np.float32)}
            found = session.run(arrays)["before"]
        more, still = resident() - held, addresses(session) == before
        assert found.tolist() == [2, -2] and session.read(2)["past"][1:4].tolist() == [1, 2, 3]
        assert np.isnan(session.read(1)["past"]).all()
        return more, still


def test_caches_are_written_where_they_stand(large: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    assert large.manifest.graph.in_place == ("past",)
    more, still = grown(large, monkeypatch)
    assert still and more < 2**22, "a run allocates state"


def test_who_copies_is_seen_to(large: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    more, still = grown(copying(large), monkeypatch)
    assert not still and more > SLOTS * NUMBERS * 4 // 2


@pytest.mark.parametrize("name", ["slots", "plain", "kept"])
def test_two_buffers_give_the_same(tmp_path: Path, name: str) -> None:
    form = FORMS[name]
    program = compiled(OnnxRuntimeBackend(), tmp_path, form)
    found = []
    for one in (program, copying(program)):
        with SessionDecoder(OnnxRuntimeBackend().open(one), form.facts) as decoder:
            logits = [feed(decoder, 1, text(13)), decoder.decode([Chunk(1, [7], 13)])]
            found.append(([array.tobytes() for array in logits], decoder.read(1)))
    assert found[0][0] == found[1][0] and same(found[0][1], found[1][1])


def test_state_that_is_read_otherwise_has_two_buffers(tmp_path: Path) -> None:
    program = compiled(OnnxRuntimeBackend(), tmp_path, FORMS["window"])
    assert program.manifest.graph.in_place == ("past_key.0", "past_value.0")


@pytest.fixture(params=[OnnxRuntimeBackend, OpenVinoBackend], ids=["onnxruntime", "openvino"])
def decoder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SessionDecoder]:
    backend = request.param()
    form = FORMS["slots"]
    with SessionDecoder(backend.open(compiled(backend, tmp_path, form)), form.facts) as decoder:
        yield decoder


class Failing:
    """A runtime that fails."""

    def __getattr__(self, name: str) -> Any:
        if name in ("run_with_iobinding", "infer"):
            raise RuntimeError("out of memory")
        return lambda *_, **__: None


def test_a_run_that_fails_is_a_device_error(decoder: SessionDecoder, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in {"_handle", "_request"} & set(vars(decoder._session)):
        monkeypatch.setattr(decoder._session, name, Failing())
    with pytest.raises(DeviceError, match="out of memory"):
        decoder.prefill([Chunk(0, [1], 0)])
    monkeypatch.undo()
    ids = text(6)
    np.testing.assert_allclose(feed(decoder, 0, ids), graphs.reference(FORMS["slots"], ids)[-1], atol=1e-5)


def test_an_id_outside_of_the_vocabulary(decoder: SessionDecoder) -> None:
    ids = text(6)
    feed(decoder, 0, ids)
    with pytest.raises(InputError, match=str(graphs.VOCABULARY)):
        decoder.decode([Chunk(0, [graphs.VOCABULARY], 6)])
    expected = graphs.reference(FORMS["slots"], [*ids, 3])[-1]
    np.testing.assert_allclose(decoder.decode([Chunk(0, [3], 6)])[0, 0], expected, atol=1e-5)


def test_a_manifest_of_another_graph(tmp_path: Path) -> None:
    for backend in (OnnxRuntimeBackend(), OpenVinoBackend()):
        (tmp_path / backend.name).mkdir()
        program = compiled(backend, tmp_path / backend.name, FORMS["slots"])
        graph = program.manifest.graph
        other = replace(graph, inputs=tuple(spec for spec in graph.inputs if spec.name != "position_ids"))
        with pytest.raises(CorruptArtefactError, match="position_ids"):
            backend.open(replace(program, manifest=replace(program.manifest, graphs={MODEL: other})))
