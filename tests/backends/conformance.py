"""What every backend must do, as ``QEfficient/backends/base.py`` promises it.

Rows are run as users' rows are: by the runner (``QEfficient/runtime``) on a session that is lent. What only who holds a
session sees (arrays, refusals, its end) is asked of the session itself.

A backend is held to it by a subclass:

    class TestMine(BackendConformance):
        @pytest.fixture
        def backend(self): return MyBackend()

        @pytest.fixture
        def absent(self, monkeypatch): ...; return MyBackend()   # one whose runtime is not on this machine
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from QEfficient.backends.base import Arrays, Backend, Session, Tunable
from QEfficient.errors import BackendUnavailableError, DeviceError, InputError, OptionError
from QEfficient.inference.loaded_program import LoadedProgram
from QEfficient.records import MODEL, CompileOptions, OnnxModel, Program, Rows, Shape, Target, Tuning
from QEfficient.runtime.calibrate import calibrate, remember
from QEfficient.runtime.stream import Source
from tests import tiny_graphs

SHORT, LONG = Shape(8, 3), Shape(16, 3)
LENGTHS = (3, 16, 1, 8, 9, 5, 16, 2, 7, 8, 12)  # two shapes, several batches of each


def rows_of(arrays: Arrays) -> Rows:
    """The rows of padded arrays, each of its own length."""
    lengths = tuple(int(length) for length in arrays["attention_mask"].sum(1))
    columns = {
        name: [row[:length] for row, length in zip(array, lengths, strict=True)] for name, array in arrays.items()
    }
    return Rows(columns, max(lengths), lengths)


def only(arrays: Arrays, numbers: Sequence[int]) -> Arrays:
    """Some of the rows."""
    return {name: array[list(numbers)] for name, array in arrays.items()}


@dataclass(frozen=True)
class Window:
    """Rows of a stream, and their numbers."""

    rows: Rows
    numbers: Sequence[int]


class BackendConformance:
    """The suite.

    ``tolerance`` is the largest difference from the reference, ``cores`` is what is compiled for, ``calls`` is how
    often each of eight threads calls.
    """

    tolerance = 1e-5
    cores = 14
    calls = 1000

    @pytest.fixture
    def backend(self) -> Backend:
        raise NotImplementedError("give the backend under test, ready to compile and run")

    @pytest.fixture
    def absent(self) -> Backend:
        raise NotImplementedError("give a backend whose runtime or compiler is not on this machine")

    @pytest.fixture
    def model(self, tmp_path: Path) -> OnnxModel:
        return tiny_graphs.make(tmp_path / "graph")

    @pytest.fixture
    def build(self, backend: Backend, tmp_path: Path) -> Callable[..., Program]:
        def build(model: OnnxModel, *buckets: Shape, name: str = "program") -> Program:
            workdir = tmp_path / name
            workdir.mkdir()
            target = Target(backend.name, backend.compute[0], cores=self.cores)
            return backend.compile({MODEL: model}, {MODEL: buckets or (SHORT, LONG)}, target, CompileOptions(), workdir)

        return build

    @pytest.fixture
    def program(self, build: Callable[..., Program], model: OnnxModel) -> Program:
        return build(model)

    @pytest.fixture
    def session(self, backend: Backend, program: Program) -> Iterator[Session]:
        with backend.open(program) as session:
            yield session

    @pytest.fixture
    def lease(self, backend: Backend, program: Program) -> Iterator[LoadedProgram]:
        ready = LoadedProgram(program, backend, "asked for by the suite")
        yield ready
        ready.close()

    @pytest.fixture
    def strict(self, backend: Backend, program: Program) -> Iterator[Session]:
        with backend.open(program, strict=True) as session:
            yield session

    # -------------------------------------------------------------------------------------------- the backend

    def test_it_is_available(self, backend: Backend) -> None:
        assert backend.can_compile().ok and backend.can_run().ok
        assert backend.version()

    def test_an_absent_one_says_why_and_what_to_do(self, absent: Backend, model: OnnxModel, tmp_path: Path) -> None:
        for availability in (absent.can_compile(), absent.can_run()):
            assert not availability.ok
            assert availability.reason and availability.hint
        with pytest.raises(BackendUnavailableError):
            absent.compile(
                {MODEL: model}, {MODEL: (SHORT,)}, Target(absent.name, absent.compute[0]), CompileOptions(), tmp_path
            )

    def test_a_documented_option_is_taken(self, backend: Backend) -> None:
        assert backend.parse_options({"mos": 1}).flags["mos"] == 1

    def test_an_unknown_option_names_the_nearest(self, backend: Backend) -> None:
        with pytest.raises(OptionError, match="'aic_enable_depth_first'"):
            backend.parse_options({"aic_enable_deph_first": True})

    # -------------------------------------------------------------------------------------------- compile

    def test_buckets_ascend(self, build: Callable[..., Program], model: OnnxModel) -> None:
        assert build(model, LONG, SHORT).manifest.shapes == (SHORT, LONG)

    def test_the_graph_is_in_the_program(self, program: Program, model: OnnxModel) -> None:
        assert program.onnx_path.is_file() and program.onnx_path.is_relative_to(program.path)
        assert (program.path / tiny_graphs.EXTERNAL).is_file()
        assert (program.manifest.inputs, program.manifest.outputs) == (model.inputs, model.outputs)

    def test_the_model_is_not_changed(self, build: Callable[..., Program], model: OnnxModel) -> None:
        before = {file: file.read_bytes() for file in model.path.parent.iterdir()}
        build(model)
        assert {file: file.read_bytes() for file in model.path.parent.iterdir()} == before

    def test_a_moved_program_opens(self, backend: Backend, program: Program, model: OnnxModel, tmp_path: Path) -> None:
        arrays = tiny_graphs.feed(3, 8, 5, width=8)
        moved = Program(tmp_path / "elsewhere" / "moved", program.manifest)
        shutil.copytree(program.path, moved.path)
        shutil.rmtree(program.path)
        with backend.open(moved) as session:
            self.close_to(session.run(arrays), tiny_graphs.reference(model, arrays))

    def test_a_program_whose_files_have_other_links_opens(
        self, backend: Backend, program: Program, model: OnnxModel, tmp_path: Path
    ) -> None:
        """As the cache's files have, which stand in several of its folders."""
        for number, file in enumerate(file for file in program.path.rglob("*") if file.is_file()):
            os.link(file, tmp_path / f"link {number}")
        arrays = tiny_graphs.feed(3, 8, 5, width=8)
        with backend.open(program) as session:
            self.close_to(session.run(arrays), tiny_graphs.reference(model, arrays))

    # -------------------------------------------------------------------------------------------- rows

    @pytest.mark.parametrize("pooled", [True, False])
    @pytest.mark.parametrize("token_types", [True, False])
    def test_numbers(
        self, backend: Backend, build: Callable[..., Program], tmp_path: Path, pooled: bool, token_types: bool
    ) -> None:
        model = tiny_graphs.make(tmp_path / "other", pooled=pooled, token_types=token_types)
        arrays = tiny_graphs.feed(*LENGTHS, token_types=token_types)
        expected = tiny_graphs.reference(model, arrays)
        if not pooled:
            expected = expected * arrays["attention_mask"][..., None]
        program = build(model)
        for strict in (False, True):
            lease = LoadedProgram(program, backend, "asked for by the suite", strict=strict)
            self.close_to(lease.run(rows_of(arrays)), expected)
            self.close_to(lease.run(rows_of(only(arrays, [1]))), expected[[1]])
            lease.close()

    def test_every_batch_is_reported(self, lease: LoadedProgram) -> None:
        done, seen = list[int](), list[tuple[Arrays, Arrays]]()
        lease.run(rows_of(tiny_graphs.feed(*LENGTHS)), progress=done.append, record=lambda *both: seen.append(both))
        work = lease.report()["work"]
        assert sum(done) == len(LENGTHS) == work["rows"] and len(done) == len(seen) == work["batches"]
        for inputs, outputs in seen:
            assert {len(array) for array in (*inputs.values(), *outputs.values())} == {len(inputs["input_ids"])}
        assert work["tokens"] == sum(LENGTHS) and work["positions"] == sum(i["input_ids"].size for i, _ in seen)

    def test_windows_of_a_stream_come_in_order(self, lease: LoadedProgram) -> None:
        lengths = [1 + 7 * n % 16 for n in range(40)]
        arrays = tiny_graphs.feed(*lengths)

        def prepare(first: int, items: list[Any]) -> Window:
            numbers = range(first, first + len(items))
            return Window(rows_of(only(arrays, numbers)), numbers)

        found, numbers = list[np.ndarray](), list[int]()
        with lease.stream(Source(map(str, lengths), window=12), prepare) as stream:
            for window, results in stream:
                numbers += window.numbers
                found.append(results["output"])
        assert numbers == list(range(40)) and len(found) > 2
        self.close_to({"output": np.concatenate(found)}, lease.run(rows_of(arrays))["output"])

    def test_many_threads_share_a_lease(self, lease: LoadedProgram) -> None:
        all_rows = [rows_of(tiny_graphs.feed(*LENGTHS[n:], seed=n)) for n in range(len(LENGTHS))]
        alone = [lease.run(rows)["output"] for rows in all_rows]
        with ThreadPoolExecutor(6) as pool:
            together = list(pool.map(lambda rows: lease.run(rows), all_rows * 2))
        for results, expected in zip(together, alone * 2, strict=True):
            self.close_to(results, expected)  # with several batches, which threads ran the last one may round otherwise

    def test_what_no_shape_takes_is_refused_before_a_run(self, lease: LoadedProgram) -> None:
        arrays = tiny_graphs.feed(3, 17)
        with pytest.raises(InputError, match="17"):
            lease.run(rows_of(arrays))
        assert lease.report()["work"]["batches"] == 0
        assert len(lease.run(rows_of(only(arrays, [0])))["output"]) == 1

    def test_a_lease_opens_again(self, lease: LoadedProgram) -> None:
        rows = rows_of(tiny_graphs.feed(*LENGTHS[:3]))
        expected = lease.run(rows)["output"]
        lease.close()
        self.close_to(lease.run(rows), expected)

    def test_warmup(self, lease: LoadedProgram, backend: Backend, program: Program) -> None:
        """What was measured on this machine is how a session runs, where it can be tuned; else nothing is measured."""
        tuning = Tuning(streams=1, threads=1, batch_tokens=16)
        remember(program, backend, tuning)
        rows = rows_of(tiny_graphs.feed(*LENGTHS))
        lease.warmup(calibrate=False)
        lease.run(rows)
        with lease.session() as session:
            tunable = isinstance(session, Tunable)
            assert not isinstance(session, Tunable) or (session.tuning, session.slots) == (tuning, 1)
            assert tunable or calibrate(program, backend, session) is None
        assert lease.report()["tuning"]["measured"] is tunable

    # -------------------------------------------------------------------------------------------- arrays

    def test_specs_are_the_manifests(self, session: Session, program: Program) -> None:
        assert (session.inputs, session.outputs) == (program.manifest.inputs, program.manifest.outputs)
        assert session.shapes == program.manifest.shapes
        assert session.slots >= 1

    def test_outputs_are_as_specified(self, session: Session) -> None:
        result = session.run(tiny_graphs.feed(8, 8, 8))
        assert {(name, array.dtype.name, array.shape) for name, array in result.items()} == {
            (spec.name, spec.dtype, spec.at(SHORT)) for spec in session.outputs
        }

    def test_results_belong_to_the_caller(self, session: Session) -> None:
        arrays = tiny_graphs.feed(8, 3, 5)
        first = session.run(arrays)["output"]
        kept = first.copy()
        second = session.run(tiny_graphs.feed(2, 8, 4, seed=1))["output"]
        assert np.array_equal(first, kept) and not np.array_equal(first, second)
        first[:] = np.nan
        assert np.array_equal(session.run(arrays)["output"], kept)

    def test_inputs_are_left_alone(self, session: Session) -> None:
        arrays = tiny_graphs.feed(8, 3, 5)
        before = {name: array.copy() for name, array in arrays.items()}
        for array in arrays.values():
            array.flags.writeable = False
        session.run(arrays)
        assert all(np.array_equal(arrays[name], before[name]) for name in before)

    def test_arrays_in_another_memory_order(self, session: Session) -> None:
        arrays = tiny_graphs.feed(8, 3, 5)
        turned = {name: np.asfortranarray(array) for name, array in arrays.items()}
        assert np.array_equal(session.run(turned)["output"], session.run(arrays)["output"])

    def test_many_threads_equal_one(self, session: Session) -> None:
        feeds = [tiny_graphs.feed(8, 1 + n % 8, 5, seed=n) for n in range(24)]
        alone = [session.run(feed)["output"] for feed in feeds]
        with ThreadPoolExecutor(6) as pool:
            together = list(pool.map(lambda feed: session.run(feed)["output"], feeds))
        assert all(np.array_equal(a, b) for a, b in zip(alone, together, strict=True))

    def test_eight_threads_with_many_calls_each(self, session: Session) -> None:
        feeds = [tiny_graphs.feed(*[8, 1 + n, 5][: 3 if session.fixed_shapes else 1 + n % 3], seed=n) for n in range(8)]
        alone = [session.run(feed)["output"].tobytes() for feed in feeds]

        def calls(first: int) -> int:
            return sum(
                session.run(feeds[(first + n) % 8])["output"].tobytes() == alone[(first + n) % 8]
                for n in range(self.calls)
            )

        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(calls, range(8))) == [self.calls] * 8

    def test_submitted_runs_beside_others_equal_those_alone(self, session: Session) -> None:
        assert session.slots < 100  # the runner has one run more than that in flight
        feeds = [tiny_graphs.feed(8, 1 + n % 8, 5, seed=n) for n in range(max(8, session.slots + 1))]
        alone = [session.submit(feed).result(timeout=60)["output"] for feed in feeds]
        futures = [session.submit(feed) for feed in feeds * 3]
        for feed, one in zip(feeds, alone, strict=True):
            self.close_to({"output": one}, session.run(feed)["output"])  # more threads may round otherwise
        for future, one in zip(futures, alone * 3, strict=True):
            assert np.array_equal(future.result(timeout=60)["output"], one)

    def test_the_same_row_is_bit_equal_at_any_place(self, strict: Session) -> None:
        row = tiny_graphs.feed(6, width=8, seed=7)
        seen = set()
        for seed in range(30):
            for place in range(SHORT.batch):
                arrays = tiny_graphs.feed(*[1 + (seed + n) % 8 for n in range(SHORT.batch)], width=8, seed=seed)
                for name, array in arrays.items():
                    array[place] = row[name][0]
                seen.add(strict.run(arrays)["output"][place].tobytes())
        assert len(seen) == 1

    # -------------------------------------------------------------------------------------------- refusals

    @pytest.mark.parametrize(
        ("change", "named"),
        [
            (lambda a: {**a, "input_idz": a["input_ids"]}, "input_ids"),
            (lambda a: {"input_ids": a["input_ids"]}, "attention_mask"),
            (lambda a: {**a, "input_ids": a["input_ids"].astype(np.int32)}, "int32"),
            (lambda a: {**a, "input_ids": a["input_ids"].astype(np.float32)}, "float32"),
            (lambda a: {**a, "input_ids": a["input_ids"][:, :-1]}, "7"),
            (lambda a: {**a, "input_ids": a["input_ids"][0]}, "8,"),
            (lambda a: {n: np.tile(v, 4) for n, v in a.items()}, "32"),
        ],
        ids=["unknown", "missing", "int32", "float", "unequal", "rank", "long"],
    )
    @pytest.mark.parametrize("background", [False, True])
    def test_what_does_not_fit_is_refused(
        self, session: Session, change: Callable[[Arrays], Arrays], named: str, background: bool
    ) -> None:
        arrays = tiny_graphs.feed(8, 3, 5)
        with pytest.raises(InputError) as caught:
            if background:
                session.submit(change(arrays)).result(timeout=60)
            else:
                session.run(change(arrays))
        assert named in str(caught.value) and caught.value.allowed and caught.value.do
        assert session.run(arrays)["output"].shape[0] == 3  # still usable

    def test_strict_takes_only_compiled_shapes(self, strict: Session) -> None:
        assert strict.fixed_shapes
        for arrays in (tiny_graphs.feed(8, 8), tiny_graphs.feed(7, 7, 7), tiny_graphs.feed(8, 8, 8, 8)):
            with pytest.raises(InputError, match="8"):
                strict.run(arrays)
        assert strict.run(tiny_graphs.feed(8, 8, 8))["output"].shape[0] == 3

    def test_free_shapes_take_any_batch_and_length(self, session: Session, model: OnnxModel) -> None:
        for lengths in ((1,), (7, 3), (16, 2, 9, 11, 1)):
            arrays = tiny_graphs.feed(*lengths)
            if session.fixed_shapes:
                with pytest.raises(InputError):
                    session.run(arrays)
            else:
                self.close_to(session.run(arrays), tiny_graphs.reference(model, arrays))

    # -------------------------------------------------------------------------------------------- tuning

    def test_tuning_while_it_runs(self, session: Session) -> None:
        if not isinstance(session, Tunable):
            return
        arrays = tiny_graphs.feed(8, 3, 5)
        expected = session.run(arrays)["output"]
        for streams in (session.slots, 1, 3):
            futures = [session.submit(arrays) for _ in range(6)]
            session.tune(Tuning(streams, threads=1, batch_tokens=64))
            assert (session.slots, session.tuning.batch_tokens) == (streams, 64)
            for results in (*(future.result(timeout=60) for future in futures), session.run(arrays)):
                self.close_to(results, expected)
        session.use_huge_pages()
        self.close_to(session.submit(arrays).result(timeout=60), expected)

    # -------------------------------------------------------------------------------------------- life

    def test_report_is_json(self, session: Session) -> None:
        assert json.loads(json.dumps(session.report()))

    def test_close_may_be_called_twice(self, backend: Backend, program: Program) -> None:
        session = backend.open(program)
        session.close()
        session.close()

    def test_a_closed_session_refuses(self, backend: Backend, program: Program) -> None:
        with backend.open(program) as session:
            session.run(tiny_graphs.feed(8, 3, 5))
        with pytest.raises(DeviceError, match="closed"):
            session.run(tiny_graphs.feed(8, 3, 5))
        with pytest.raises(DeviceError, match="closed"):
            session.submit(tiny_graphs.feed(8, 3, 5)).result(timeout=60)

    def test_close_lets_runs_finish(self, backend: Backend, program: Program) -> None:
        arrays = tiny_graphs.feed(8, 3, 5)
        session = backend.open(program)
        expected = session.run(arrays)["output"]
        futures = [session.submit(arrays) for _ in range(20)]
        closing = threading.Thread(target=session.close)
        closing.start()
        closing.join(timeout=60)
        assert not closing.is_alive()
        assert not wait(futures, timeout=60).not_done
        assert all(np.array_equal(future.result()["output"], expected) for future in futures)

    def test_two_sessions_of_one_program(self, backend: Backend, program: Program) -> None:
        arrays = tiny_graphs.feed(8, 3, 5)
        with backend.open(program) as one, backend.open(program) as other:
            expected = one.run(arrays)["output"]
            one.close()
            assert np.array_equal(other.run(arrays)["output"], expected)

    @pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")  # Python 3.12, about any fork
    def test_a_forked_child_reopens(self, lease: LoadedProgram) -> None:
        arrays = tiny_graphs.feed(8, 3, 5)
        rows = rows_of(tiny_graphs.feed(*LENGTHS))
        every = lease.run(rows)["output"]
        context = multiprocessing.get_context("fork")
        receiver, sender = context.Pipe(duplex=False)

        def child() -> None:
            results = [session.run(arrays)["output"], session.submit(arrays).result(timeout=30)["output"]]
            sender.send((*results, lease.run(rows)["output"]))
            lease.close()

        with lease.session() as session:  # in use, while the process forks
            expected = session.run(arrays)["output"]
            session.submit(arrays).result(timeout=60)  # so that there is a thread that does not come along
            process = context.Process(target=child)
            process.start()
            try:
                assert receiver.poll(timeout=60), "the child does not answer"
                *results, last = receiver.recv()
                assert all(np.array_equal(result, expected) for result in results)
                self.close_to({"output": last}, every)
                process.join(timeout=60)
                assert process.exitcode == 0
            finally:
                process.kill()
            assert np.array_equal(session.run(arrays)["output"], expected)

    def close_to(self, results: Arrays, expected: np.ndarray) -> None:
        assert results["output"].shape == expected.shape
        assert np.abs(results["output"] - expected).max() <= self.tolerance * np.abs(expected).max()
