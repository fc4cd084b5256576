"""How a program runs fastest here: measured, kept, found again; never where there is nothing to choose."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from dataclasses import replace
from itertools import chain, cycle, repeat
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from QEfficient import settings
from QEfficient.backends import host
from QEfficient.backends.onnxruntime import OnnxRuntimeBackend
from QEfficient.records import MODEL, CompileOptions, FileFacts, Program, Shape, Target, TensorSpec, Tuning
from QEfficient.runtime import calibrate as calibration
from QEfficient.runtime.calibrate import calibrate, remember, remembered
from tests import tiny_graphs

BACKEND = OnnxRuntimeBackend()


@pytest.fixture
def program(tmp_path: Path) -> Program:
    (tmp_path / "program").mkdir()
    model = tiny_graphs.make(tmp_path / "graph")
    made = BACKEND.compile(
        {MODEL: model}, {MODEL: [Shape(16)]}, Target("onnxruntime"), CompileOptions(), tmp_path / "program"
    )
    return Program(made.path, replace(made.manifest, files={"model.onnx": FileFacts(1, "ab" * 32)}))


class Machine:
    """Sessions whose speed is known: time passes as runs say."""

    def __init__(
        self, rows_a_second: Mapping[tuple[int, int], float | Iterator[float]], inputs: tuple[TensorSpec, ...]
    ) -> None:
        self.speed, self.inputs, self.now, self.open = rows_a_second, inputs, 0.0, 0

    def session(self, tuning: Tuning, fixed: bool = False) -> Any:
        machine = self

        class Session:
            inputs, shapes, fixed_shapes = machine.inputs, (Shape(32),), fixed

            def __init__(self) -> None:
                self.tune(tuning)

            def tune(self, tuning: Tuning) -> None:
                self.tuning, self.slots = tuning, tuning.streams

            def use_huge_pages(self) -> None:
                pass

            def run(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
                rows = len(next(iter(arrays.values())))
                speed = machine.speed[self.slots, rows]
                machine.now += rows / (next(speed) if isinstance(speed, Iterator) else speed)
                return {}

            def submit(self, arrays: Mapping[str, np.ndarray]) -> Future[dict[str, np.ndarray]]:
                future: Future[dict[str, np.ndarray]] = Future()
                future.set_result(self.run(arrays))
                return future

            def __enter__(self) -> Any:
                machine.open += 1
                return self

            def __exit__(self, *_: object) -> None:
                machine.open -= 1

        return Session()


IDS = (TensorSpec("input_ids", "int64", ("batch_size", "seq_len")),)


def best(
    monkeypatch: pytest.MonkeyPatch, speed: Mapping[tuple[int, int], float | Iterator[float]], guess: Tuning
) -> Tuning | None:
    """What is chosen on a machine of 2 CPUs where (streams, rows of 32 tokens) have these speeds, 100 where not."""
    table = {(streams, rows): 100.0 for streams in (1, 2) for rows in (4, 8, 16)} | dict(speed)
    machine = Machine(table, IDS)

    class Backend:
        name = "made up"

        def open(self, program: object) -> Any:
            return machine.session(guess)

    monkeypatch.setattr(calibration, "usable_cpus", lambda: 2)
    monkeypatch.setattr(time, "perf_counter", lambda: machine.now)
    made: Any = Backend()
    nothing: Any = None
    found = calibrate(nothing, made, machine.session(guess), clock=lambda: machine.now)
    assert machine.open == 0, "a session that was tried stays open"
    return found


@pytest.mark.parametrize(
    ("speed", "guess", "chosen"),
    [
        ({(2, 16): 120.0}, Tuning(2, 1, 256), Tuning(2, 1, 512)),
        ({(1, 4): 120.0, (2, 16): 110.0}, Tuning(2, 1, 256), Tuning(1, 2, 128)),
        ({(2, 16): 102.0}, Tuning(2, 1, 256), Tuning(2, 1, 256)),  # no more than noise
        ({(2, 8): 200.0, (1, 16): 120.0}, Tuning(1, 2, 256), Tuning(1, 2, 512)),  # its weights are never held twice
    ],
)
def test_the_fastest_is_chosen(
    monkeypatch: pytest.MonkeyPatch, speed: dict[tuple[int, int], float], guess: Tuning, chosen: Tuning
) -> None:
    assert best(monkeypatch, speed, guess) == chosen


def test_a_noisy_machine_keeps_the_guess(monkeypatch: pytest.MonkeyPatch) -> None:
    swings = cycle([60.0, 130.0, 130.0])
    assert best(monkeypatch, {(1, 8): swings}, Tuning(2, 1, 256)) == Tuning(2, 1, 256)


def test_the_best_of_many_is_not_taken_for_its_luck(monkeypatch: pytest.MonkeyPatch) -> None:
    lucky = chain([130.0] * 8, repeat(97.0))  # two runs a measurement, in a first call and three rounds
    assert best(monkeypatch, {(2, 16): lucky}, Tuning(2, 1, 256)) == Tuning(2, 1, 256)


def test_a_slow_program_is_not_tried_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    crawls = {(streams, rows): 2.0 for streams in (1, 2) for rows in (4, 8, 16)}
    assert best(monkeypatch, crawls | {(1, 16): 99.0}, Tuning(2, 1, 256)) == Tuning(2, 1, 256)


def test_where_shapes_are_fixed_nothing_is_measured() -> None:
    nothing: Any = None
    assert calibrate(nothing, nothing, Machine({}, IDS).session(Tuning(2, 1, 256), fixed=True)) is None


@pytest.mark.parametrize(
    "inputs",
    [
        (TensorSpec("pixel_values", "float32", ("batch_size", 3, 8, 8)),),
        (TensorSpec("input_values", "float32", ("batch_size", "seq_len")),),
        (*IDS, TensorSpec("pixel_values", "float32", ("batch_size", 3, 8, 8))),
    ],
    ids=["images", "clips", "texts and images"],
)
def test_images_and_clips_have_their_batches(inputs: tuple[TensorSpec, ...]) -> None:
    arrays = calibration._batch(Machine({}, inputs).session(Tuning(2, 1, 256)), 512)
    assert {name: (array.dtype.name, array.shape[1:]) for name, array in arrays.items()} == {
        spec.name: (spec.dtype, spec.at(Shape(32))[1:]) for spec in inputs
    }
    assert len({len(array) for array in arrays.values()}) == 1


def test_a_real_session(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    with BACKEND.open(program) as session:
        found = calibrate(program, BACKEND, session, seconds=0.0)
    assert found is not None and found.streams in (1, session.slots)
    with BACKEND.open(program, strict=True) as session:
        assert calibrate(program, BACKEND, session) is None


# ------------------------------------------------------------------------------------------------ kept


def test_what_was_measured_is_found_again(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    assert remembered(program, BACKEND) is None
    tuning = Tuning(3, 2, 384)
    remember(program, BACKEND, tuning)
    assert remembered(program, BACKEND) == tuning
    assert remembered(Program(program.path / "moved", program.manifest), BACKEND) == tuning
    other = replace(program.manifest, files={"model.onnx": FileFacts(1, "cd" * 32)})
    assert remembered(Program(program.path, other), BACKEND) is None
    lower = replace(program.manifest, target=replace(program.manifest.target, compute="int8"))
    assert remembered(Program(program.path, lower), BACKEND) is None
    monkeypatch.setattr(calibration, "usable_cpus", lambda: 99)
    assert remembered(program, BACKEND) is None
    monkeypatch.undo()
    monkeypatch.setattr(calibration, "processor", lambda: "another")
    assert remembered(program, BACKEND) is None


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "[]",
        lambda text: text.replace('"streams": 3', '"streams": 0'),
        lambda text: text.replace('"streams": 3', '"streams": "3"'),
        lambda text: json.dumps({**json.loads(text), "for": {}}),
    ],
)
def test_a_damaged_file_counts_as_none(program: Program, damage: Any) -> None:
    remember(program, BACKEND, Tuning(3, 2, 384))
    (file,) = (settings.home() / "tunings").iterdir()
    file.write_text(damage(file.read_text()))
    assert remembered(program, BACKEND) is None
    remember(program, BACKEND, Tuning(3, 2, 384))
    assert remembered(program, BACKEND) == Tuning(3, 2, 384)


def test_a_cache_that_can_not_be_written(program: Program) -> None:
    settings.home().mkdir(parents=True, exist_ok=True)
    (settings.home() / "tunings").write_text("a file stands where the folder should")
    remember(program, BACKEND, Tuning(3, 2, 384))
    assert remembered(program, BACKEND) is None


def test_the_processor_has_a_name() -> None:
    assert host.processor()
