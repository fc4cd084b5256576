"""The backend that computes as a card: the common suite, and what is its own."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from QEfficient.backends import registry
from QEfficient.backends.base import Backend
from QEfficient.backends.onnxruntime import OnnxRuntimeBackend
from QEfficient.errors import CompileError
from QEfficient.numerics.emulator import EmulatorBackend
from QEfficient.records import MODEL, CompileOptions, OnnxModel, Program, Shape, Target, TensorSpec
from tests import tiny_graphs
from tests.backends.conformance import BackendConformance


class TestEmulator(BackendConformance):
    tolerance = 1e-2  # fp16

    @pytest.fixture
    def backend(self) -> Backend:
        return EmulatorBackend()

    @pytest.fixture
    def absent(self, monkeypatch: pytest.MonkeyPatch) -> Backend:
        monkeypatch.setitem(sys.modules, "onnxruntime", None)  # an import of it raises ImportError
        return EmulatorBackend()


def compiled(backend: Backend, folder: Path, options: CompileOptions = CompileOptions()) -> Program:  # noqa: B008
    (folder / "program").mkdir(parents=True)
    model = tiny_graphs.make(folder / "graph")
    target = Target(backend.name, backend.compute[0])
    return backend.compile({MODEL: model}, {MODEL: [Shape(16)]}, target, options, folder / "program")


def test_results_are_numbers_of_fp16(tmp_path: Path) -> None:
    results = []
    for backend in (EmulatorBackend(), OnnxRuntimeBackend()):
        with backend.open(compiled(backend, tmp_path / backend.name)) as session:
            results.append(session.run(tiny_graphs.feed(3, 5))["output"])
    emulated, exact = results
    assert np.array_equal(emulated, emulated.astype(np.float16))
    assert not np.array_equal(exact, exact.astype(np.float16))
    assert np.abs(emulated - exact).max() < 1e-2


def test_a_graph_that_onnxruntime_refuses_is_no_program(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(
        onnx.parser.parse_model(
            '<ir_version: 9, opset_import: ["" : 18]> g (int64[n] x) => (int64[n] y) { y = NoSuchOperator(x) }'
        ),
        path,
    )
    model = OnnxModel(path, (TensorSpec("x", "int64", ("n",)),), (TensorSpec("y", "int64", ("n",)),), digest="")
    (tmp_path / "program").mkdir()
    with pytest.raises(CompileError, match="NoSuchOperator"):
        EmulatorBackend().compile(
            {MODEL: model}, {MODEL: [Shape(8)]}, Target("emulator", "fp16"), CompileOptions(), tmp_path / "program"
        )


def test_it_is_never_chosen_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("QEFF_BACKEND", raising=False)
    assert registry.choose("auto")[0].name == "onnxruntime"
    assert registry.choose("emulator")[0].name == "emulator"
