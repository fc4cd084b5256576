"""What every session that keeps state must do, as ``base.Retaining`` and ``generation.decoder.Decoder`` promise it.

It runs small decoders made by hand (``tests/stateful_graphs.py``), through ``SessionDecoder`` for whatever a decoder is
asked, and on the session itself for what only its holder sees. A backend is held to it by a subclass:

    class TestMine(StateConformance):
        tolerance = 1e-5

        @pytest.fixture
        def backend(self): return MyBackend()

        def poison(self, monkeypatch): ...   # sessions that are opened from now on start out with NaN
"""

from __future__ import annotations

import json
import multiprocessing
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from QEfficient.backends.base import Arrays, Backend, Retaining, Session
from QEfficient.errors import DeviceError, InputError, UsageError
from QEfficient.generation.decoder import Chunk, Decoder
from QEfficient.generation.session_decoder import SessionDecoder
from QEfficient.records import MODEL, CompileOptions, OnnxModel, Program, Target
from tests import stateful_graphs as graphs
from tests.stateful_graphs import FORMS, Form


def text(length: int, seed: int = 0) -> list[int]:
    """Random ids."""
    return [int(token) for token in np.random.default_rng(seed).integers(0, graphs.VOCABULARY, length)]


def same(one: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]) -> bool:
    """Whether two states are equal bit for bit, NaN too."""
    return one.keys() == other.keys() and all(one[name].tobytes() == other[name].tobytes() for name in one)


def feed(decoder: Decoder, slot: int, ids: Sequence[int], *, start: int = 0, chunk: int = 8) -> np.ndarray:
    """Prefills ``ids[start:]`` in chunks of at most so many; the logits behind the last."""
    logits = np.zeros(0, np.float32)
    for first in range(start, len(ids), chunk):
        [logits] = decoder.prefill([Chunk(slot, ids[first : min(first + chunk, len(ids))], first)])
    return logits


_PROGRAMS: dict[tuple[type, Form], Program] = {}


class StateConformance:
    """The suite. ``tolerance`` is the largest difference from the reference, ``state_dtype`` what state is kept in."""

    tolerance = 1e-5
    cores = 14
    state_dtype = "float32"

    @pytest.fixture
    def backend(self) -> Backend:
        raise NotImplementedError("give the backend under test, ready to compile and run")

    def poison(self, monkeypatch: pytest.MonkeyPatch) -> None:
        raise NotImplementedError("let the sessions that are opened from now on start out with NaN in all state")

    def graph(self, folder: Path, form: Form) -> OnnxModel:
        """The graph that is compiled."""
        return graphs.make(folder, form)

    def options(self, form: Form) -> CompileOptions:
        """What the graph is compiled with."""
        return CompileOptions()

    @pytest.fixture
    def build(self, backend: Backend, tmp_path: Path) -> Callable[[Form], Program]:
        """Compiles a form once for all tests of the class."""

        def build(form: Form) -> Program:
            if (type(self), form) not in _PROGRAMS:
                model = self.graph(tmp_path / "graph", form)
                (tmp_path / "program").mkdir()
                target = Target(backend.name, backend.compute[0], cores=self.cores)
                options = self.options(form)
                made = backend.compile({MODEL: model}, {MODEL: form.shapes}, target, options, tmp_path / "program")
                _PROGRAMS[type(self), form] = made
            return _PROGRAMS[type(self), form]

        return build

    @pytest.fixture(params=FORMS)
    def form(self, request: pytest.FixtureRequest) -> Form:
        return FORMS[request.param]

    @pytest.fixture
    def program(self, build: Callable[[Form], Program], form: Form) -> Program:
        return build(form)

    @pytest.fixture(params=[False, True], ids=["free", "fixed"])
    def decoder(
        self,
        backend: Backend,
        program: Program,
        form: Form,
        request: pytest.FixtureRequest,
        monkeypatch: pytest.MonkeyPatch,
    ) -> Iterator[SessionDecoder]:
        """Its state is NaN at first, which must not be seen by anything."""
        self.poison(monkeypatch)
        with SessionDecoder(backend.open(program, strict=request.param), form.facts) as decoder:
            yield decoder

    @pytest.fixture
    def slots(self) -> Form:
        return FORMS["slots"]

    @pytest.fixture
    def session(
        self, backend: Backend, build: Callable[[Form], Program], slots: Form, monkeypatch: pytest.MonkeyPatch
    ) -> Iterator[Any]:
        """One that is addressed by slots, and takes the compiled shapes; NaN at first."""
        self.poison(monkeypatch)
        with backend.open(build(slots), strict=True) as session:
            yield session

    def close_to(self, found: np.ndarray, expected: np.ndarray) -> None:
        assert found.shape == expected.shape and np.isfinite(found).all()
        np.testing.assert_allclose(found, expected, rtol=0, atol=self.tolerance)

    # -------------------------------------------------------------------------------------------- what it says

    def test_it_says_what_it_keeps(self, backend: Backend, program: Program, form: Form) -> None:
        with backend.open(program) as session:
            assert isinstance(session, Retaining)
            states = [f"past_{part}.{layer}" for layer in range(graphs.LAYERS) for part in ("key", "value")]
            assert [spec.name for spec in session.states] == states
            slots = form.slots + form.continuous
            lengths = [form.window if form.window and name.endswith("1") else form.ctx_len for name in states]
            shapes = [(slots, graphs.HEADS, length, graphs.DIM) for length in lengths]
            assert [spec.shape for spec in session.states] == shapes
            assert {spec.dtype for spec in session.states} == {self.state_dtype}
            assert [spec.name for spec in session.outputs] == ["logits"]
            assert not {spec.name for spec in session.inputs} & set(states)
            assert session.bytes_held == self.bytes_of(shapes)
            assert json.loads(json.dumps(session.report()))

    def bytes_of(self, shapes: Sequence[tuple[int, ...]]) -> int:
        return sum(int(np.prod(shape)) for shape in shapes) * np.dtype(self.state_dtype).itemsize

    # -------------------------------------------------------------------------------------------- numbers

    def test_prompts_in_chunks_and_tokens_one_by_one(self, decoder: SessionDecoder, form: Form) -> None:
        """Three sequences in three slots, prefilled at other times, in other chunks, decoded together."""
        texts = {slot: text(length, slot) for slot, length in ((2, 20), (0, 13), (3, 9))}
        expected = {slot: graphs.reference(form, ids) for slot, ids in texts.items()}
        done = {2: 16, 0: 9, 3: 5}
        for (slot, length), chunk in zip(done.items(), (8, 3, 1), strict=True):
            self.close_to(feed(decoder, slot, texts[slot][:length], chunk=chunk), expected[slot][length - 1])
        for step in range(4):
            order = [[2, 0, 3], [3, 2], [0, 3, 2], [0, 2, 3]][step]
            rows = [Chunk(slot, [texts[slot][done[slot]]], done[slot]) for slot in order]
            logits = decoder.decode(rows)
            assert logits.shape == (len(order), 1, graphs.VOCABULARY) and logits.dtype == np.float32
            for slot, found in zip(order, logits, strict=True):
                self.close_to(found[0], expected[slot][done[slot]])
                done[slot] += 1

    def test_several_prompts_in_one_call(self, decoder: SessionDecoder, form: Form) -> None:
        texts = [text(length, length) for length in (3, 8, 1)]
        found = decoder.prefill([Chunk(slot, ids, 0) for slot, ids in zip((3, 1, 2), texts, strict=True)])
        for logits, ids in zip(found, texts, strict=True):
            self.close_to(logits, graphs.reference(form, ids)[-1])

    def test_how_a_prompt_is_cut_changes_nothing(self, decoder: SessionDecoder, form: Form) -> None:
        ids = text(17)
        expected = graphs.reference(form, ids)[-1]
        states = []
        for chunk in (8, 7, 1):
            self.close_to(feed(decoder, 1, ids, chunk=chunk), expected)
            states.append(decoder.read(1))
        for state in states[1:]:
            for name, array in states[0].items():
                np.testing.assert_allclose(
                    self.written(array, 17), self.written(state[name], 17), rtol=0, atol=self.tolerance
                )

    def written(self, array: np.ndarray, length: int) -> np.ndarray:
        """The positions of a slot's cache that were written, in float32."""
        return array[:, :length].astype(np.float32)

    def test_a_slot_is_used_again(self, decoder: SessionDecoder, form: Form) -> None:
        """What a longer sequence left behind is not seen; nor is anything of it cleared."""
        feed(decoder, 1, text(20, seed=5))
        ids = text(6)
        self.close_to(feed(decoder, 1, ids), graphs.reference(form, ids)[-1])

    def test_all_positions_can_be_used(self, decoder: SessionDecoder, form: Form) -> None:
        ids = text(form.facts.room)
        self.close_to(feed(decoder, 0, ids), graphs.reference(form, ids)[-1])
        with pytest.raises(UsageError, match=f"(?s){form.facts.room}.*0 to {form.facts.room - 1}"):
            decoder.decode([Chunk(0, [1], form.facts.room)])

    @pytest.mark.parametrize("form", [FORMS["slots"], FORMS["plain"]], ids=["slots", "plain"])
    def test_an_earlier_position_overwrites(self, decoder: SessionDecoder, form: Form) -> None:
        first, second = text(14), text(14, seed=1)
        feed(decoder, 2, first)
        mixed = first[:5] + second[5:11]
        self.close_to(feed(decoder, 2, mixed, start=5), graphs.reference(form, mixed)[-1])
        mixed = [*mixed[:7], *second[:1]]
        self.close_to(decoder.decode([Chunk(2, mixed[7:], 7)])[0, 0], graphs.reference(form, mixed)[-1])

    @pytest.mark.parametrize("form", [FORMS["kept"]], ids=["kept"])
    def test_several_tokens_a_row(self, decoder: SessionDecoder, form: Form) -> None:
        texts = {slot: text(16, slot) for slot in (3, 1)}
        for slot, ids in texts.items():
            feed(decoder, slot, ids[:7])
        done = 7
        for tokens in (3, 1, 2):
            found = decoder.decode([Chunk(slot, ids[done : done + tokens], done) for slot, ids in texts.items()])
            for logits, ids in zip(found, texts.values(), strict=True):
                self.close_to(logits, graphs.reference(form, ids)[done : done + tokens])
            done += tokens

    # -------------------------------------------------------------------------------------------- slots

    def test_neighbours_stay_as_they_are(self, decoder: SessionDecoder, form: Form) -> None:
        ids = text(9)
        feed(decoder, 0, ids)
        if form.continuous:  # of the plain form an idle row's last position is scratch
            before = {slot: decoder.read(slot) for slot in (0, 2, 3)}
        else:
            before = {slot: self.but_the_last(decoder.read(slot)) for slot in (0, 2, 3)}
        feed(decoder, 1, text(12, seed=1))
        decoder.decode([Chunk(1, [5], 12)])
        for slot, state in before.items():
            after = decoder.read(slot)
            assert same(state, after if form.continuous else self.but_the_last(after))
        self.close_to(decoder.decode([Chunk(0, [7], 9)])[0, 0], graphs.reference(form, [*ids, 7])[-1])

    @staticmethod
    def but_the_last(state: Arrays) -> Arrays:
        return {name: array[:, :-1] for name, array in state.items()}

    @pytest.mark.parametrize("form", [FORMS["slots"], FORMS["window"]], ids=["slots", "window"])
    def test_every_slot_is_alike(self, decoder: SessionDecoder) -> None:
        """Bit for bit, in the logits and in the state."""
        ids = text(11)
        seen = {
            (feed(decoder, slot, ids).tobytes(), decoder.decode([Chunk(slot, [3], 11)]).tobytes()) for slot in range(4)
        }
        assert len(seen) == 1
        states = [self.written_part(decoder.read(slot), 12) for slot in range(4)]
        assert all(same(states[0], state) for state in states[1:])

    @staticmethod
    def written_part(state: Arrays, length: int) -> Arrays:
        return {name: array[:, :length] for name, array in state.items()}

    def test_copies(self, decoder: SessionDecoder, form: Form) -> None:
        ids = text(10)
        feed(decoder, 2, ids)
        decoder.copy(2, 0)
        assert same(decoder.read(0), decoder.read(2))
        found = decoder.decode([Chunk(0, [4], 10), Chunk(2, [9], 10)])
        for logits, token in zip(found, (4, 9), strict=True):
            self.close_to(logits[0], graphs.reference(form, [*ids, token])[-1])

    def test_copies_of_what_is_used(self, decoder: SessionDecoder, form: Form) -> None:
        """What stands behind it is the target's own, and nothing sees it; a ring is one whole."""
        ids = text(10)
        feed(decoder, 2, ids)
        feed(decoder, 0, text(14, seed=1))
        before = decoder.read(0)
        length = 10 if form.window else 7
        decoder.copy(2, 0, length)
        after, source = decoder.read(0), decoder.read(2)
        for name, array in after.items():
            if form.window and name.endswith(".1"):
                assert array.tobytes() == source[name].tobytes()
            else:
                assert array[:, :length].tobytes() == source[name][:, :length].tobytes()
                assert array[:, length:].tobytes() == before[name][:, length:].tobytes()
        found = decoder.decode([Chunk(0, [4], length)])[0, 0]
        self.close_to(found, graphs.reference(form, [*ids[:length], 4])[-1])

    def test_what_is_read_is_a_copy_and_can_be_written(
        self, decoder: SessionDecoder, form: Form, backend: Backend, program: Program
    ) -> None:
        ids = text(10)
        feed(decoder, 1, ids)
        state = decoder.read(1)
        kept = {name: array.copy() for name, array in state.items()}
        assert {name: array.dtype.name for name, array in state.items()} == dict.fromkeys(state, self.state_dtype)
        with SessionDecoder(backend.open(program), form.facts) as other:  # another session of the same program
            other.write(3, state)
            assert same(other.read(3), kept)
            self.close_to(other.decode([Chunk(3, [4], 10)])[0, 0], graphs.reference(form, [*ids, 4])[-1])
        for array in state.values():
            array[:] = 1
        assert same(decoder.read(1), kept)
        assert not same(decoder.read(0), kept)

    def test_cleared_slots_are_zero(self, decoder: SessionDecoder) -> None:
        for slot in (0, 1):
            feed(decoder, slot, text(6))
        other = decoder.read(1)
        decoder.clear(0)
        assert not any(array.any() for array in decoder.read(0).values())
        assert same(decoder.read(1), other)
        decoder.clear()
        assert not any(array.any() for slot in range(4) for array in decoder.read(slot).values())

    def test_poison_is_there(self, session: Any) -> None:
        assert all(np.isnan(array).all() for array in session.read(0).values())

    def test_two_sessions_have_their_own_state(self, backend: Backend, program: Program, form: Form) -> None:
        one, other = (SessionDecoder(backend.open(program), form.facts) for _ in range(2))
        with one, other:
            first, second = text(9), text(9, seed=1)
            feed(one, 1, first)
            feed(other, 1, second)
            for decoder, ids in ((one, first), (other, second)):
                self.close_to(decoder.decode([Chunk(1, [3], 9)])[0, 0], graphs.reference(form, [*ids, 3])[-1])

    # -------------------------------------------------------------------------------------------- dropped writes

    @pytest.mark.parametrize(
        ("slot", "position"),
        [(-1, -1), (-1, 3), (0, -1), (4, 3), (2**31 - 1, 3), (0, 24), (0, 2**31 - 1), (-5, -7)],
    )
    def test_a_dropped_write_changes_no_slot(self, session: Any, slots: Form, slot: int, position: int) -> None:
        decoder = SessionDecoder(session, slots.facts)
        ids = text(10)
        for each in range(4):
            feed(decoder, each, ids)
        before = [decoder.read(each) for each in range(4)]
        rows = {
            "input_ids": np.array([[5], [7], [5]]),
            "position_ids": np.array([[position], [10], [-1]]),
            "batch_index": np.array([[slot], [2], [-1]]),  # a card does who knows what where two rows name one
        }
        logits = session.run(rows)["logits"]
        self.close_to(logits[1, 0], graphs.reference(slots, [*ids, 7])[-1])
        after = [decoder.read(each) for each in range(4)]
        assert all(same(before[each], after[each]) for each in (0, 1, 3))
        assert not same(before[2], after[2])

    # -------------------------------------------------------------------------------------------- refusals

    @pytest.mark.parametrize(
        ("change", "named"),
        [
            (lambda a: {**a, "input_idz": a["input_ids"]}, "input_ids"),
            (lambda a: {**a, "past_key.0": np.zeros(1, np.float32)}, "past_key.0"),
            (lambda a: {name: array for name, array in a.items() if name != "batch_index"}, "batch_index"),
            (lambda a: {**a, "position_ids": a["position_ids"].astype(np.int32)}, "int32"),
            (lambda a: {**a, "position_ids": a["position_ids"][:, 0]}, "3,"),
            (lambda a: {name: array[:2] for name, array in a.items()}, "2, 1"),
            (lambda a: {name: np.concatenate([array] * 2) for name, array in a.items()}, "6, 1"),
        ],
        ids=["unknown", "state", "missing", "dtype", "rank", "too few", "too many"],
    )
    def test_what_does_not_fit_is_refused(
        self, session: Any, slots: Form, change: Callable[[Arrays], Arrays], named: str
    ) -> None:
        decoder = SessionDecoder(session, slots.facts)
        feed(decoder, 0, text(5))
        before = decoder.read(0)
        rows: Arrays = {
            "input_ids": np.array([[5], [7], [5]]),
            "position_ids": np.array([[5], [0], [0]]),
            "batch_index": np.array([[0], [2], [1]]),
        }
        with pytest.raises(InputError) as caught:
            session.run(change(rows))
        assert named in str(caught.value) and caught.value.allowed and caught.value.do
        assert same(decoder.read(0), before)
        assert session.submit(rows).result(timeout=60)["logits"].shape == (3, 1, graphs.VOCABULARY)

    def test_free_rows_up_to_the_most_that_were_compiled(
        self, backend: Backend, build: Callable[[Form], Program], slots: Form
    ) -> None:
        with backend.open(build(slots)) as session:
            for rows, length in ((1, 1), (2, 1), (3, 8), (4, 1), (1, 9)):
                arrays = {name: np.zeros((rows, length), np.int64) for name in ("input_ids", "position_ids")}
                arrays["batch_index"] = np.arange(rows)[:, None]
                if rows > slots.rows or length > slots.chunk or (session.fixed_shapes and (rows, length) != (1, 8)):
                    with pytest.raises(InputError):
                        session.run(arrays)
                else:
                    assert session.run(arrays)["logits"].shape == (rows, 1, graphs.VOCABULARY)

    @pytest.mark.parametrize(
        "change",
        [
            lambda s: {**s, "past_key.9": s["past_key.0"]},
            lambda s: {"past_key.0": s["past_key.0"]},
            lambda s: {**s, "past_key.0": s["past_key.0"][None]},
            lambda s: {**s, "past_key.0": s["past_key.0"][:, :1]},
            lambda s: {**s, "past_key.0": s["past_key.0"].astype(np.float64)},
        ],
        ids=["unknown", "missing", "rank", "short", "dtype"],
    )
    def test_state_that_does_not_fit_is_refused(self, session: Any, change: Callable[[Arrays], Arrays]) -> None:
        before = session.read(1)
        with pytest.raises(InputError):
            session.write(1, change(session.read(0)))
        assert same(session.read(1), before)

    @pytest.mark.parametrize("slot", [-1, 5, 99])
    def test_no_such_slot(self, session: Any, slot: int) -> None:
        calls = (
            lambda: session.read(slot),
            lambda: session.write(slot, session.read(0)),
            lambda: session.copy(slot, 0),
            lambda: session.copy(0, slot),
            lambda: session.clear(slot),
        )
        for call in calls:
            with pytest.raises(UsageError, match=f"(?s){slot}.*0 to 4"):
                call()

    # -------------------------------------------------------------------------------------------- life

    def test_results_belong_to_the_caller(self, session: Any, slots: Form) -> None:
        rows = {
            "input_ids": np.array([[5], [7], [8]]),
            "position_ids": np.array([[0], [0], [0]]),
            "batch_index": np.array([[0], [2], [1]]),
        }
        given = {name: array.copy() for name, array in rows.items()}
        for array in rows.values():
            array.flags.writeable = False
        first = session.run(rows)["logits"]
        kept = first.copy()
        session.run({**rows, "input_ids": np.array([[1], [2], [3]])})
        assert np.array_equal(first, kept) and all(np.array_equal(rows[name], given[name]) for name in rows)
        first[:] = np.nan
        assert np.array_equal(session.run(rows)["logits"], kept)
        turned = {name: np.asfortranarray(np.repeat(array, 2, 1)[:, :1]) for name, array in rows.items()}
        assert np.array_equal(session.run(turned)["logits"], kept)

    def test_it_can_not_be_pickled(self, session: Any, slots: Form) -> None:
        for one in (session, SessionDecoder(session, slots.facts)):
            with pytest.raises(UsageError, match="process"):
                pickle.dumps(one)

    def test_a_closed_session_refuses(self, backend: Backend, build: Callable[[Form], Program], slots: Form) -> None:
        session: Any = backend.open(build(slots))
        decoder = SessionDecoder(session, slots.facts)
        feed(decoder, 0, text(3))
        state = decoder.read(0)
        decoder.close()
        decoder.close()
        session.close()
        calls = (
            lambda: feed(decoder, 0, text(3)),
            lambda: decoder.read(0),
            lambda: decoder.write(0, state),
            lambda: decoder.copy(0, 1),
            lambda: decoder.clear(),
        )
        for call in calls:
            with pytest.raises(DeviceError, match="closed"):
                call()

    @pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # Python's own advice
    def test_a_forked_child_can_not_use_it(self, session: Session, slots: Form) -> None:
        decoder = SessionDecoder(session, slots.facts)
        ids = text(5)
        feed(decoder, 0, ids)
        context = multiprocessing.get_context("fork")
        answers = context.Queue()
        child = context.Process(target=_in_child, args=(decoder, answers))
        child.start()
        found = answers.get(timeout=60)
        child.join(timeout=60)
        assert found == ["UsageError"] * 3 and child.exitcode == 0
        self.close_to(decoder.decode([Chunk(0, [3], 5)])[0, 0], graphs.reference(slots, [*ids, 3])[-1])


def _in_child(decoder: SessionDecoder, answers: Any) -> None:
    found = []
    for call in (lambda: decoder.decode([Chunk(0, [3], 5)]), lambda: decoder.read(0), lambda: decoder.clear()):
        try:
            call()
            found.append("done")
        except Exception as error:
            found.append(type(error).__name__)
    decoder.close()
    answers.put(found)
