"""How busy the host keeps a card's devices: the fake SDK with 5 ms an inference, through ``runtime.run``.

    python benchmarks/card.py                                # 1, 4 and 16 devices, both generations of the SDK
    python benchmarks/card.py --devices 16 --slots 1 2 3 4   # how many inferences in flight it takes

The fake computes nothing: an output is a function of its row's ids, and one timer thread ends the inferences of all
devices. Rows are tokenised already. The busy share is the sum of device time over devices × wall time, the planning of
the batches included. The fake holds the GIL for what a real SDK does in native code, so its own CPU
time is shown beside the whole process's. Nothing of this is hardware.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

import onnx
from onnx import parser

from QEfficient.backends.qaic import QaicBackend, native
from QEfficient.backends.qaic.sdk import Sdk
from QEfficient.backends.qaic.session import SLOTS
from QEfficient.records import MODEL, CompileOptions, OnnxModel, Program, Rows, Shape, Target, TensorSpec
from QEfficient.runtime.run import How, run_rows
from tests.sdk import FakeSdk, make_sdk

DEVICE_MS, LENGTH, WIDTH = 5, 128, 384
WANTED = {1: 0.97, 4: 0.95, 16: 0.85}
_GRAPH = f"""
<ir_version: 9, opset_import: ["" : 18]>
vectors (int64[batch_size, seq_len] input_ids, int64[batch_size, seq_len] attention_mask)
  => (float[batch_size, {WIDTH}] output)
{{
    masked = Mul (input_ids, attention_mask)
    one = Constant <value_ints = [1]> ()
    total = ReduceSum <keepdims = 1> (masked, one)
    width = Constant <value_ints = [1, {WIDTH}]> ()
    wide = Expand (total, width)
    output = Cast <to = 1> (wide)
}}
"""


@dataclass(frozen=True)
class Run:
    """What one run showed."""

    seconds: float
    busy: float
    fake_cpu: float
    process_cpu: float
    rows: int
    inferences: dict[int, int]
    right: bool
    report: dict[str, Any]

    def line(self, what: str, wanted: float | None = None) -> str:
        """What is printed of it."""
        each = 1e6 / sum(self.inferences.values())
        verdict = "" if wanted is None else f"  (at least {wanted:.2f}: {'yes' if self.busy >= wanted else 'NO'})"
        return (
            f"{what:<44} busy {self.busy:.3f}{verdict}  {self.rows / self.seconds:8,.0f} rows/s"
            f"  an inference: {self.process_cpu * each:4.0f} us CPU, {self.fake_cpu * each:3.0f} of them the fake's"
            f"  {'rows right' if self.right else 'ROWS WRONG'}"
        )


class Bench:
    """A fake SDK with a program for each batch size."""

    def __init__(self, folder: Path, generation: str, devices: int) -> None:
        self.sdk: FakeSdk = make_sdk(folder / "sdk", generation=generation, devices=devices, compute="echo")
        self._folder, self._programs = folder, dict[int, Program]()
        path = folder / "model.onnx"
        onnx.save_model(parser.parse_model(_GRAPH), path)
        shape = ("batch_size", "seq_len")
        self._model = OnnxModel(
            path=path,
            inputs=tuple(TensorSpec(name, "int64", shape) for name in ("input_ids", "attention_mask")),
            outputs=(TensorSpec("output", "float32", ("batch_size", WIDTH)),),
            digest="",
        )

    def program(self, batch: int) -> Program:
        """A program of one shape."""
        if batch not in self._programs:
            workdir = self._folder / f"batch-{batch}"
            workdir.mkdir()
            graphs, shapes = {MODEL: self._model}, {MODEL: [Shape(LENGTH, batch)]}
            backend, target = QaicBackend(sdk=Sdk(self.sdk.root)), Target("qaic", "fp16", 4)
            self._programs[batch] = backend.compile(graphs, shapes, target, CompileOptions(), workdir)
        return self._programs[batch]

    def run(self, rows: Rows, expected: np.ndarray, devices: int, batch: int, slots: int, **switches: Any) -> Run:
        """Runs the rows once on so many devices; ``switches`` are the fake's, set after a short warm-up."""
        program = self.program(batch)
        self.sdk.set(device_time_ms=DEVICE_MS, fail_after=None)
        fake = native.load(Sdk(self.sdk.root)).qaicrt
        with QaicBackend(sdk=Sdk(self.sdk.root), slots=slots).open(program, range(devices)) as session:
            run_rows(session, first(rows, 8 * batch), How())
            self.sdk.set(**switches)
            fake.report()
            cpu, start = time.process_time(), time.perf_counter()
            found = run_rows(session, rows, How())["output"]
            seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
            counted = fake.report()
            report = session.report()
        busy = sum(device["busy_seconds"] for device in counted["devices"].values()) / (devices * seconds)
        inferences = {qid: device["inferences"] for qid, device in sorted(counted["devices"].items())}
        right = np.array_equal(found, expected)
        return Run(seconds, busy, counted["cpu_seconds"], cpu, len(rows), inferences, right, report)


def rows_of(number: int) -> Rows:
    """Rows of random ids, of lengths from 65 to the full one."""
    random = np.random.default_rng(0)
    lengths = random.integers(LENGTH // 2 + 1, LENGTH + 1, number).tolist()
    ids = [random.integers(1, 30_000, length) for length in lengths]
    return Rows({"input_ids": ids, "attention_mask": [np.ones_like(row) for row in ids]}, LENGTH, tuple(lengths))


def first(rows: Rows, number: int) -> Rows:
    """The first rows of them."""
    return Rows({name: column[:number] for name, column in rows.columns.items()}, LENGTH, rows.lengths[:number])


def expected_of(bench: Bench, rows: Rows) -> np.ndarray:
    """What the fake gives for each row by itself."""
    card = native.load(Sdk(bench.sdk.root)).qaicrt.card
    record = {"bindings": [{"dir": 1, "index": 2, "name": "output"}]}
    found = []
    for start in range(0, len(rows), 256):
        ids = np.zeros((min(256, len(rows) - start), LENGTH), np.int64)
        mask = np.zeros_like(ids)
        for place, row in enumerate(rows.columns["input_ids"][start : start + 256]):
            ids[place, : len(row)], mask[place, : len(row)] = row, 1
        arrays = {"input_ids": ids, "attention_mask": mask}
        found.append(card.echo(record, arrays, {2: [len(ids), WIDTH]})["output"])
    return np.concatenate(found)


def main() -> None:
    """Prints a line a run."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--devices", type=int, nargs="+", default=[1, 4, 16])
    arguments.add_argument("--batch", type=int, nargs="+", default=[1, 8])
    arguments.add_argument("--slots", type=int, nargs="+", default=[SLOTS], help="inferences in flight a device")
    arguments.add_argument("--inferences", type=int, default=400, help="of each device")
    arguments.add_argument("--generation", nargs="+", default=["new", "old"], choices=["new", "old"])
    options = arguments.parse_args()
    print(
        f"{os.cpu_count()} CPUs, Python {sys.version.split()[0]}; {DEVICE_MS} ms an inference; nothing here is hardware"
    )
    for generation in options.generation:
        with tempfile.TemporaryDirectory() as folder:
            measure(Bench(Path(folder), generation, max(options.devices)), generation, options)


def measure(bench: Bench, generation: str, options: argparse.Namespace) -> None:
    """All runs of one generation, and last one in which a device fails."""
    most = max(options.devices)
    for batch in options.batch:
        rows = rows_of(most * options.inferences * batch)
        expected = expected_of(bench, rows)
        for devices in options.devices:
            number = devices * options.inferences * batch
            for slots in options.slots:
                found = bench.run(first(rows, number), expected[:number], devices, batch, slots)
                what = f"{generation} SDK, {devices:2} devices, batch {batch}, {slots} in flight"
                print(found.line(what, WANTED.get(devices)), flush=True)
    if most > 1:
        logging.disable(logging.WARNING)  # of the device that fails on purpose
        found = bench.run(rows, expected, most, batch, SLOTS, fail_after={"0": options.inferences // 2})
        logging.disable(logging.NOTSET)
        print(found.line(f"{generation} SDK, {most:2} devices, one fails half-way"))
        print(f"    inferences of each device: {list(found.inferences.values())}")
        print(f"    lost: {[(one['devices'], one['error'].splitlines()[:2]) for one in found.report['lost']]}")


if __name__ == "__main__":
    main()
