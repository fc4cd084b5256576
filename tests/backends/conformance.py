"""What every backend must do, as ``QEfficient/backends/base.py`` promises it.

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
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import numpy as np
import pytest

from QEfficient.backends.base import Arrays, Backend, Session
from QEfficient.errors import BackendUnavailableError, DeviceError, InputError, OptionError
from QEfficient.records import Bucket, CompileOptions, OnnxModel, Program, Target
from tests import tiny_graphs

SHORT, LONG = Bucket(8, 3), Bucket(16, 3)


class BackendConformance:
    """The suite. ``tolerance`` is the largest difference from the reference; ``cores`` is what is compiled for."""

    tolerance = 1e-5
    cores = 14

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
        def build(model: OnnxModel, *buckets: Bucket, name: str = "program") -> Program:
            workdir = tmp_path / name
            workdir.mkdir()
            target = Target(backend.name, backend.compute[0], cores=self.cores)
            return backend.compile(model, buckets or (SHORT, LONG), target, CompileOptions(), workdir)

        return build

    @pytest.fixture
    def program(self, build: Callable[..., Program], model: OnnxModel) -> Program:
        return build(model)

    @pytest.fixture
    def session(self, backend: Backend, program: Program) -> Iterator[Session]:
        with backend.open(program) as session:
            yield session

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
            absent.compile(model, (SHORT,), Target(absent.name, absent.compute[0]), CompileOptions(), tmp_path)

    def test_a_documented_option_is_taken(self, backend: Backend) -> None:
        assert backend.parse_options({"mos": 1}).flags["mos"] == 1

    def test_an_unknown_option_names_the_nearest(self, backend: Backend) -> None:
        with pytest.raises(OptionError, match="'aic_enable_depth_first'"):
            backend.parse_options({"aic_enable_deph_first": True})

    # -------------------------------------------------------------------------------------------- compile

    def test_buckets_ascend(self, build: Callable[..., Program], model: OnnxModel) -> None:
        assert build(model, LONG, SHORT).manifest.buckets == (SHORT, LONG)

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

    # -------------------------------------------------------------------------------------------- run

    @pytest.mark.parametrize("pooled", [True, False])
    @pytest.mark.parametrize("token_types", [True, False])
    def test_numbers(
        self, backend: Backend, build: Callable[..., Program], tmp_path: Path, pooled: bool, token_types: bool
    ) -> None:
        model = tiny_graphs.make(tmp_path / "other", pooled=pooled, token_types=token_types)
        with backend.open(build(model)) as session:
            for bucket in (SHORT, LONG):
                arrays = tiny_graphs.feed(1, bucket.length, 5, width=bucket.length, token_types=token_types)
                self.close_to(session.run(arrays), tiny_graphs.reference(model, arrays))

    def test_specs_are_the_manifests(self, session: Session, program: Program) -> None:
        assert (session.inputs, session.outputs) == (program.manifest.inputs, program.manifest.outputs)
        assert session.buckets == program.manifest.buckets
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

    def test_eight_threads_with_a_thousand_calls_each(self, session: Session) -> None:
        feeds = [tiny_graphs.feed(*[8, 1 + n, 5][: 3 if session.fixed_shapes else 1 + n % 3], seed=n) for n in range(8)]
        alone = [session.run(feed)["output"].tobytes() for feed in feeds]

        def calls(first: int) -> int:
            return sum(
                session.run(feeds[(first + n) % 8])["output"].tobytes() == alone[(first + n) % 8] for n in range(1000)
            )

        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(calls, range(8))) == [1000] * 8

    def test_submitted_runs_beside_others_equal_those_alone(self, session: Session) -> None:
        feeds = [tiny_graphs.feed(8, 1 + n, 5, seed=n) for n in range(8)]
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
    def test_a_forked_child_reopens(self, session: Session) -> None:
        arrays = tiny_graphs.feed(8, 3, 5)
        expected = session.run(arrays)["output"]
        session.submit(arrays).result(timeout=60)  # so that there is a thread that does not come along
        context = multiprocessing.get_context("fork")
        receiver, sender = context.Pipe(duplex=False)

        def child() -> None:
            sender.send((session.run(arrays)["output"], session.submit(arrays).result(timeout=30)["output"]))

        process = context.Process(target=child)
        process.start()
        try:
            assert receiver.poll(timeout=60), "the child does not answer"
            assert all(np.array_equal(result, expected) for result in receiver.recv())
            process.join(timeout=60)
            assert process.exitcode == 0
        finally:
            process.kill()
        assert np.array_equal(session.run(arrays)["output"], expected)

    def close_to(self, results: Arrays, expected: np.ndarray) -> None:
        assert results["output"].shape == expected.shape
        assert np.abs(results["output"] - expected).max() <= self.tolerance * np.abs(expected).max()
